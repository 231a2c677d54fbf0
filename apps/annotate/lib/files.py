"""Files that are whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write and sync beside `path`, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, values: Any) -> None:
    """See `write_whole`."""
    write_whole(path, json.dumps(values, indent=1, default=str).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    if not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def serial_number(folder: Path) -> str:
    """What tells one installation from another, made once and kept in `folder`."""
    path = folder / "serial-number"
    if not path.is_file():
        write_whole(path, uuid.uuid4().hex.encode())
    return path.read_text(encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal; read again only if the file has changed."""
    facts = path.stat()
    return _sha256(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _sha256(path: Path, _changed_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
