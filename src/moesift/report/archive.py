"""One file with all that another person needs to check a comparison."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from moesift.files import atomic_write

SUMS = "SHA256SUMS"  # what `sha256sum -c` reads
STAMP = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can say: the same content makes the same bytes


def pack(out: Path, folder: str, files: Mapping[str, Path | bytes]) -> None:
    """Write a zip, whole or not at all, and the same bytes for the same files.

    Args:
        out: where to write.
        folder: that all files are in.
        files: by their paths in the folder, where they are now or what is in them.
    """
    sums = []
    with atomic_write(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            read = content.read_bytes() if isinstance(content, Path) else content
            sums.append(f"{hashlib.sha256(read).hexdigest()}  {name}\n")
            archive.writestr(_entry(f"{folder}/{name}"), read)
        archive.writestr(_entry(f"{folder}/{SUMS}"), "".join(sums))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, STAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # a plain file of Unix, wherever it was written
    return entry
