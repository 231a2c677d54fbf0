"""What is served of a bundle just now, told by a few looks at its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wetread.errors import InferenceError
from wetread.infer.embedded import newest_version

# What promotions keep within a bundle; the journal is there while one switches, or was cut short.
PROMOTIONS = ".promotions"
JOURNAL = f"{PROMOTIONS}/journal.json"

# Path, inode, time of change and size of a file; None where there is none.
_Stamp = tuple[str, int, int, int] | None
ServedState = tuple[_Stamp, ...]


def served_state(bundle: Path, repository: Path, networks: Iterable[str]) -> ServedState | None:
    """Something that is another once the bundle's version or a network's newest version is.

    None while a promotion switches from one version to the other: files of both lie there then.
    """
    if (bundle / JOURNAL).exists():
        return None
    newest = [_newest(repository, network) for network in networks]
    return (_stamp(bundle / "configs/metadata.json"), *newest)


def _newest(repository: Path, network: str) -> _Stamp:
    try:
        return _stamp(newest_version(repository, network))
    except InferenceError:
        # The servers of a model on Triton may have it elsewhere.
        return None


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return str(path), found.st_ino, found.st_mtime_ns, found.st_size
