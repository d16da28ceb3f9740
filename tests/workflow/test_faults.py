"""What happens to a run happens here: processes are killed, disks are full, files end early, two runs meet.

Each time there is a clear message or a clean resume, and what comes out is what the undisturbed run made, bit by bit.
"""

import contextlib
import filecmp
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EPOCH = "results/tiny/warmup/seed-0/epoch-2"
ROUTING = "results/tiny/passes/seed-0/epoch-2/routing.parquet"
ADAPTER = "results/tiny/adapters/{}/ratio-0.25/seed-0"
SELECTION = "results/tiny/selected/{}/ratio-0.25/seed-0.parquet"
WEIGHTS = "adapter_model.safetensors"
PATIENCE = 300  # seconds


class Disturbed:
    """A copy of the finished run, in which something is missing and something goes wrong."""

    def __init__(self, checkout, finished: Path, configured: str):
        self.checkout, self.folder, self.finished, self.configured = checkout, checkout.folder, finished, configured

    def without(self, *paths: str) -> None:
        for path in paths:
            place = self.folder / path
            shutil.rmtree(place) if place.is_dir() else place.unlink()

    def words(self, *targets: str) -> list[str]:
        return [*targets, "--cores", "1", "--configfile", self.configured]

    def run(self, *targets: str, check: bool = True) -> str:
        """Run snakemake to its end and return what it said; a run that should fail must."""
        done = self.checkout.snakemake(*self.words(*targets), check=check)
        assert check or done.returncode != 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def started(self, *targets: str) -> subprocess.Popen:
        environment = self.checkout.environment
        # Behind all others, so that who watches it is in time to stop it.
        command = ["nice", "-n", "19", sys.executable, "-m", "snakemake", *self.words(*targets)]
        said = self.folder / "said"
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=said.open("w"), stderr=said.open("a"))

    def process(self, *words: str) -> int:
        """Wait for the process of this run whose command has all these words, and return its number."""
        wanted = {word.encode() for word in words}
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # it has ended
                    command = (process / "cmdline").read_bytes()
                    # Not the launcher, which has the module as a word of its own as well, but what it forks.
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                    forked = Path(f"/proc/{parent}/cmdline").read_bytes() == command
                    given = set(command.split(b"\0"))
                    ours = (process / "cwd").resolve() == self.folder.resolve()
                    if ours and wanted <= given and (forked or b"moesift.launch" not in given):
                        return int(process.name)
            time.sleep(0.01)
        raise TimeoutError(f"no process {' '.join(words)}")

    def stopped(self, out: str, *words: str) -> int:
        """Stop the training that writes `out` as soon as it has saved a state, and return the process's number."""
        number = self.process(*words, out)
        end = time.monotonic() + PATIENCE
        while not list((self.folder / f"{out}.state").glob("step-*")):
            assert time.monotonic() < end
            time.sleep(0.005)
        os.kill(number, signal.SIGSTOP)
        assert not list((self.folder / out).glob("*"))
        return number

    def truncate(self, path: str) -> None:
        content = (self.folder / path).read_bytes()
        (self.folder / path).write_bytes(content[:-100])

    def same(self, *paths: str) -> bool:
        return all(filecmp.cmp(self.folder / path, self.finished / path, shallow=False) for path in paths)


@pytest.fixture
def disturbed(finished, tmp_path) -> Disturbed:
    """The finished run, copied with its times, and told to save a state after each step."""
    shutil.copytree(finished.folder, tmp_path / "moesift", symlinks=True)
    checkout = replace(finished, folder=tmp_path / "moesift")
    configured = checkout.configured("often", throughput={"shards": 2, "save_every": 0})
    return Disturbed(checkout, finished.folder, configured)


def test_a_killed_warm_up_goes_on_and_a_second_snakemake_is_turned_away(disturbed):
    disturbed.without(EPOCH, f"{EPOCH}.jsonl")
    run = disturbed.started(EPOCH)
    number = disturbed.stopped(EPOCH, "moesift.stages.warmup_epoch")
    assert "Directory cannot be locked" in disturbed.run(EPOCH, check=False)
    os.kill(number, signal.SIGKILL)
    assert run.wait(PATIENCE) != 0
    said = (disturbed.folder / "said").read_text()
    assert "moesift: error: a process of the training was killed by SIGKILL" in said
    assert "Traceback" not in said
    disturbed.run(EPOCH)
    assert "resumes after" in (disturbed.folder / "results/tiny/logs/warmup/seed-0/epoch-2.log").read_text()
    names = ("routers.safetensors", "trash_experts.safetensors", "optimizer.safetensors")
    assert disturbed.same(*(f"{EPOCH}/{name}" for name in names), f"{EPOCH}.jsonl")


def test_a_killed_snakemake_leaves_a_lock_and_a_training_that_nobody_starts_twice(disturbed):
    adapter = ADAPTER.format("random")
    disturbed.without(adapter)
    run = disturbed.started(f"{adapter}/{WEIGHTS}")
    number = disturbed.stopped(adapter, "moesift.stages.train_adapter")
    run.kill()
    run.wait()
    said = disturbed.run(f"{adapter}/{WEIGHTS}", check=False)
    assert "Directory cannot be locked" in said
    assert "--unlock" in said
    disturbed.run("--unlock")
    said = disturbed.run(f"{adapter}/{WEIGHTS}", check=False)
    assert f"moesift: error: {adapter}.state: another process is still at this training" in said
    os.kill(number, signal.SIGKILL)
    with contextlib.suppress(OSError):  # on a busy machine its locks outlive the signal a little
        while Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
    disturbed.run(f"{adapter}/{WEIGHTS}")
    assert "resumes after" in (disturbed.folder / "results/tiny/logs/adapters/random/ratio-0.25/seed-0.log").read_text()
    assert disturbed.same(f"{adapter}/{WEIGHTS}")
    losses = [
        json.loads((folder / adapter / "training.json").read_text())["nll_per_step"]
        for folder in (disturbed.folder, disturbed.finished)
    ]
    assert losses[0] == losses[1]
    assert not (disturbed.folder / f"{adapter}.state").exists()


def test_a_shard_that_is_killed_or_ends_early_is_made_again(disturbed):
    disturbed.without(ROUTING)
    shards = [f"{ROUTING.removesuffix('.parquet')}.shards/{number}-of-2.parquet" for number in (1, 2)]
    run = disturbed.started(*shards)
    os.kill(disturbed.process("moesift.stages.run_pass", shards[0]), signal.SIGKILL)
    assert run.wait(PATIENCE) != 0
    assert "Killed" in (disturbed.folder / "said").read_text()
    assert not (disturbed.folder / shards[0]).exists()
    disturbed.run(*shards)
    disturbed.truncate(shards[1])
    said = disturbed.run(ROUTING, check=False)
    assert f"moesift: error: {shards[1]}: cannot be read as parquet: " in said
    disturbed.without(shards[1])  # as the message says
    disturbed.run(ROUTING)
    assert disturbed.same(ROUTING)


def test_what_ends_early_is_named_and_made_again_when_it_is_removed(disturbed):
    adapter, selection = ADAPTER.format("router_untrained"), SELECTION.format("router_untrained")
    disturbed.without(ROUTING, adapter)
    disturbed.truncate(f"{EPOCH}/routers.safetensors")
    disturbed.truncate(selection)
    said = disturbed.run(ROUTING, f"{adapter}/{WEIGHTS}", "--keep-going", check=False)
    assert f"moesift: error: {EPOCH}/routers.safetensors: cannot be read as safetensors: " in said
    assert f"if the workflow made {EPOCH}, remove that folder" in said
    assert f"moesift: error: {selection}: cannot be read as parquet: " in said
    disturbed.without(EPOCH, selection)
    disturbed.run(ROUTING, f"{adapter}/{WEIGHTS}")
    assert disturbed.same(ROUTING, selection, f"{adapter}/{WEIGHTS}", f"{EPOCH}/routers.safetensors")


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of this size on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip("only root can mount a small disk" if os.geteuid() else f"no disk can be mounted: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_message_and_with_more_room_the_run_goes_on(disturbed):
    adapter = ADAPTER.format("router_untrained")
    disturbed.without(adapter)
    folder = (disturbed.folder / adapter).parent
    with disk(folder, "64k"):
        said = disturbed.run(f"{adapter}/{WEIGHTS}", check=False)
        assert f"moesift: error: {adapter}" in said
        assert ": the disk is full: " in said
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        disturbed.run(f"{adapter}/{WEIGHTS}")
        assert disturbed.same(f"{adapter}/{WEIGHTS}")


# Runs stages with little room left on a disk, each in a fork: their libraries take seconds to import, once.
FORKS = """
import importlib, json, os, sys, traceback
import accelerate, datasets, lm_eval.models.huggingface, lm_eval.tasks, matplotlib, peft, polars, transformers
from moesift import flags

def work(words, said, disk, left):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    free = os.statvfs(disk)
    with open(f"{disk}/filler", "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_bsize - left)
    sys.argv = words
    try:
        flags.run(importlib.import_module(words[0]).main)
    except SystemExit as ended:
        sys.stderr.write(str(ended.code))
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(0)

for job in json.load(sys.stdin):
    if not (child := os.fork()):
        work(**job)
    os.waitpid(child, 0)
    os.remove(f"{job['disk']}/filler")
"""
PAGE = 4096  # what a file system gives at a time


def jobs(disturbed: Disturbed, *targets: str, **changes) -> dict[str, tuple[list[str], list[str]]]:
    """Return of each rule a job, as a module and its arguments, and what it writes, as Snakemake would start it.

    Where the finished run has such a job, it is one of those, so that its inputs are there.
    """
    configured = disturbed.checkout.configured("dry", **changes)
    said = disturbed.checkout.snakemake("-n", "-p", "--forceall", *targets, "--configfile", configured).stdout
    found: dict[str, tuple[list[str], list[str]]] = {}
    for line in said.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
        elif line.startswith("    output: "):
            outputs = [name.split()[0] for name in line.removeprefix("    output: ").split(", ")]
        elif line.startswith("Shell command: ") and ("moesift.stages." in line or "moesift.demo." in line):
            words = shlex.split(line.partition(" > ")[0])
            start = next(n for n, word in enumerate(words) if word.startswith(("moesift.stages.", "moesift.demo.")))
            if outputs[0] not in words and (folder := os.path.dirname(outputs[0])) in words:
                outputs = [folder]
            elif not any(word.startswith(outputs[0]) for word in words):
                continue  # a card, which is written beside what it is of
            if rule not in found or (disturbed.finished / outputs[0]).exists():
                found[rule] = words[start:], outputs
    return found


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def test_each_stage_says_which_file_the_disk_has_no_room_for(disturbed, tmp_path):
    dense = {"model": "results/tiny/embedded/target", "upcycle": {"experts": 2, "experts_per_token": 1, "seed": 0}}
    beside = (
        "results/tiny/upcycled",
        "results/tiny/data/near_duplicates.parquet",
        "results/tiny/data/contaminated.parquet",
    )
    found = jobs(disturbed, *beside, selector=dense, select={"near_duplicates": 0.9, "decontaminate": 13})
    found |= jobs(disturbed, "all", "archive")
    assert len(found) == 19
    # As they are started, nothing so short saves a state.
    for rule in ("warmup_epoch", "train_adapter"):
        words, outputs = found[rule]
        words = list(words)
        words[words.index("--save-every") + 1] = "0"
        found[f"{rule}.state"] = words, outputs
    # The shards are gone: what they were merged to stands for them.
    words, outputs = found["merge_pass"]
    (tmp_path / "shards").mkdir()
    shutil.copy(disturbed.finished / outputs[0], tmp_path / "shards" / "1-of-1.parquet")
    whole = [words[0], "--shards", str(tmp_path / "shards"), "--number", "1"]
    found["merge_pass"] = [*whole, *words[words.index("--pool") :]], outputs
    with disk(tmp_path / "disk", "64m"):
        todo, expected = [], []
        for rule, (words, outputs) in found.items():
            saves = rule.endswith(".state")
            written = sum(size(disturbed.finished / path) for path in outputs if (disturbed.finished / path).exists())
            for left in {0, PAGE if saves else written // 2 // PAGE * PAGE}:
                places = {
                    path: f"{tmp_path}/disk/{rule}-{left}/{n}/{Path(path).name}" for n, path in enumerate(outputs)
                }
                moved = [
                    next(
                        (word.replace(path, place, 1) for path, place in places.items() if word.startswith(path)), word
                    )
                    for word in words
                ]
                said = tmp_path / f"{rule}-{left}.said"
                todo.append({"words": moved, "said": str(said), "disk": str(tmp_path / "disk"), "left": left})
                place = f"{places[outputs[0]]}.state/step-" if saves else f"{tmp_path}/disk/{rule}-{left}/"
                expected.append((said, f"moesift: error: {place}"))
        environment = disturbed.checkout.environment | {"CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-c", FORKS],
            cwd=disturbed.folder,
            env=environment,
            input=json.dumps(todo),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for said, message in expected:
            words = said.read_text()
            assert message in words, f"{said.name}: {words[-3000:]}"
            assert ": the disk is full: " in words.partition(message)[2]
            assert "Traceback" not in words
        assert not list((tmp_path / "disk").rglob("*.part"))
