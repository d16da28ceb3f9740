"""A headless Chromium that a test can ask things, over the pipe of the DevTools protocol: no driver, no port."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    # Nothing but the page may ask the network for anything.
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Browser:
    """One page, and what it did: `requests` are the addresses that it asked for, `errors` what went wrong in it."""

    def __init__(self, folder: Path, width: int = 1200, dark: bool = False):
        """Start Chromium with a profile in `folder`, and a window `width` pixels wide."""
        its_input, self._requests = os.pipe()
        self._answers, its_output = os.pipe()
        # Chromium reads commands from its file descriptor 3 and answers on 4.
        redirected = f'exec "$0" "$@" 3<&{its_input} 4>&{its_output}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(its_input, its_output),
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._read, self._sent = b"", 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        pages = [target for target in self("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        self._session = self("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")
        self("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is noted."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def open(self, page: Path) -> None:
        """Open a file and wait until all of it is there."""
        self("Page.navigate", url=page.resolve().as_uri())
        while not any(event == "Page.loadEventFired" for event in [self._note(self._next())]):
            pass

    def evaluate(self, script: str) -> Any:
        """Return what a JavaScript expression gives in the page."""
        result = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds in the page, ten seconds at most."""
        for _ in range(100):
            if self.evaluate(f"Boolean({condition})"):
                return
            time.sleep(0.1)
        raise RuntimeError(f"this did not come true in the page: {condition}")

    def screenshot(self, box: dict[str, float] | None = None) -> bytes:
        """Return the page as PNG, or the part of it in a box of x, y, width and height in pixels."""
        clip = {"clip": {**box, "scale": 1}} if box else {}
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True, **clip)["data"])

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._requests)
        os.close(self._answers)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise RuntimeError(f"Chromium ended with {self._process.wait()}")
            self._read += read
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> str:
        params = event.get("params", {})
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(params["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.errors.append(f"console.{params['type']}")
            case "Log.entryAdded":
                self.errors.append(params["entry"]["text"])
        return event["method"]


def main() -> None:
    """Take a picture of the top of a page: PAGE PNG HEIGHT."""
    page, picture, height = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder))
        browser.open(Path(page))
        Path(picture).write_bytes(browser.screenshot({"x": 0, "y": 0, "width": 1200, "height": float(height)}))
        browser.close()


if __name__ == "__main__":
    main()
