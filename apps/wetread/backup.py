"""A copy of everything that a gateway has, made while it runs, and put back.

What belongs together is copied in this order, while nothing is removed from the spool:

1. the workflows, so that none of them is further than the ledger says: a task that is done once
   more changes nothing, one that is taken for done would never be;
2. the ledger, each database as it was at one moment;
3. the files that this copy of the ledger names; they were whole before it named them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from wetread import __version__
from wetread.config import Config
from wetread.durable import workflow_url
from wetread.errors import ConfigError, InputError, StorageError
from wetread.files import sync_folder
from wetread.lease import lock_of, only_process
from wetread.ledger import Ledger, ledger_url
from wetread.ledger.moving import Moved, move_ledger
from wetread.receive.study_locks import StudyLocks

FORMAT = 1
LEDGER, WORKFLOWS, SUMS, MANIFEST = (
    "ledger.sqlite3",
    "workflows.sqlite3",
    "SHA256SUMS",
    "backup.json",
)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `missing` are files that the ledger names and nobody has."""

    spool: Path
    made_at: str
    wetread: str
    images: int
    results: int
    size_bytes: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Databases:
    ledger: Path
    workflows: Path

    @classmethod
    def of(cls, config: Config) -> _Databases:
        """Raises ConfigError if they are no files."""
        urls = make_url(ledger_url(config)), make_url(workflow_url(config))
        if urls[0].get_backend_name() != "sqlite":
            raise ConfigError(
                "the ledger is in PostgreSQL, which has backups of its own",
                hint="dump the database first, then copy received/ and results/ of the spool",
            )
        return cls(*(Path(url.database or "") for url in urls))


def upgrade(config: Config) -> Moved:
    """Bring the ledger to this wetread's schema version; a SQLite file is copied beside itself.

    Raises ConfigError if a gateway runs on it, and as `move_ledger`.
    """
    url = ledger_url(config)
    if config.database.is_shared:
        return move_ledger(url)
    spool = config.spool.path
    with only_process(lock_of(spool), f"runs on {spool}", "stop it, then run this again"):
        return move_ledger(url)


def back_up(config: Config, folder: Path) -> Backup:
    """Copy ledger, workflows and spool to a new `folder`, which is whole once it is there.

    Raises ConfigError if there is something in `folder` or the ledger is in PostgreSQL, and
    StorageError if something cannot be read or written.
    """
    databases = _Databases.of(config)
    if not databases.ledger.is_file():
        raise ConfigError(
            f"no ledger at {databases.ledger}",
            hint="`wetread serve` makes it; is this its settings file?",
        )
    _check_empty(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    locks = StudyLocks(config.spool.path / "locks")
    with _as_storage_error(partial):
        locks.make()
        try:
            partial.mkdir(parents=True)
            with locks.keeping_everything():
                backup = _fill(partial, databases, config.spool.path)
            os.sync()
            partial.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return backup


def _fill(partial: Path, databases: _Databases, spool: Path) -> Backup:
    if databases.workflows.is_file():
        _copy_database(databases.workflows, partial / WORKFLOWS)
    _copy_database(databases.ledger, partial / LEDGER)
    with closing(Ledger(f"sqlite:///{partial / LEDGER}")) as ledger:
        images, results = ledger.copies.spooled_paths()
    found, missing = _copy_files(spool, [*images, *results], partial)
    backup = Backup(
        spool=spool,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wetread=__version__,
        images=len(images),
        results=len(results),
        size_bytes=sum(size for _, size, _ in found),
        missing=tuple(missing),
    )
    sums = "".join(f"{sha256}  spool/{name}\n" for name, _, sha256 in found)
    (partial / SUMS).write_text(sums, encoding="utf-8")
    written = {"format": FORMAT} | {
        name: getattr(backup, name) for name in Backup.__dataclass_fields__
    }
    (partial / MANIFEST).write_text(json.dumps(written, indent=1, default=str), encoding="utf-8")
    return backup


def _copy_files(
    spool: Path, paths: Sequence[Path], partial: Path
) -> tuple[list[tuple[str, int, str]], list[str]]:
    """Name, size and digest of each file that was copied, and those that are not there."""
    found, missing = [], []
    for path in paths:
        try:
            name = str(path.relative_to(spool))
            size, sha256 = _copy(path, partial / "spool" / name)
        except (FileNotFoundError, ValueError):
            missing.append(str(path))
        else:
            found.append((name, size, sha256))
    return found, missing


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Size and digest of what was copied."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += writing.write(chunk)
    return size, digest.hexdigest()


def _copy_database(source: Path, target: Path) -> None:
    """As it is at one moment, whoever writes to it."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)


def restore(config: Config, folder: Path) -> Backup:
    """Put a backup where the settings say that spool and ledger are; nothing may be there yet.

    The ledger comes last: without it nothing was restored. Jobs that ran when the backup was made
    are queued again.

    Raises ConfigError if something is there, InputError if `folder` is no whole backup, and
    StorageError if something cannot be read or written.
    """
    databases = _Databases.of(config)
    backup, sums = _read_manifest(folder)
    _check_empty(config.spool.path)
    for file in (databases.ledger, databases.workflows):
        if file.exists():
            raise ConfigError(f"{file} is there already", hint="move it away first")
    with _as_storage_error(config.spool.path):
        for name, sha256 in sums.items():
            target = config.spool.path / Path(name).relative_to("spool")
            if _copy(folder / name, target)[1] != sha256:
                raise InputError(
                    f"{folder / name} is not what was backed up",
                    hint="`sha256sum -c SHA256SUMS` in the backup names all; take another backup",
                )
        databases.ledger.parent.mkdir(parents=True, exist_ok=True)
        if (folder / WORKFLOWS).is_file():
            _copy(folder / WORKFLOWS, databases.workflows)
        os.sync()
        _restore_ledger(folder / LEDGER, databases.ledger, backup.spool, config.spool.path)
    return backup


def _restore_ledger(source: Path, target: Path, old_spool: Path, spool: Path) -> None:
    beside = target.with_name(f".{target.name}.restoring")
    beside.unlink(missing_ok=True)
    _copy(source, beside)
    with closing(Ledger(f"sqlite:///{beside}")) as ledger:
        ledger.copies.move(old_spool, spool)
        ledger.copies.queue_running_jobs()
    os.sync()
    beside.rename(target)
    sync_folder(target.parent)


def _read_manifest(folder: Path) -> tuple[Backup, dict[str, str]]:
    """What the backup says of itself, and the digest of each of its files."""
    try:
        written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        backup = _backup_of(written)
        sums = _sums_of((folder / SUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no backup that this wetread reads: {error}",
            hint="give the folder that `wetread backup` made",
        ) from error
    return backup, sums


def _backup_of(written: dict[str, Any]) -> Backup:
    if written.pop("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    made = {"spool": Path(written["spool"]), "missing": tuple(written["missing"])}
    return Backup(**{**written, **made})


def _sums_of(text: str) -> dict[str, str]:
    sums = {}
    for line in text.splitlines():
        sha256, name = line.split("  ", 1)
        if Path(name).parts[0] != "spool" or ".." in Path(name).parts:
            raise ValueError(f"it names a file outside of the spool: {name}")
        sums[name] = sha256
    return sums


def _check_empty(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty", hint="give a place where nothing is")


@contextmanager
def _as_storage_error(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        named = getattr(error, "filename", None) or place
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"cannot copy {named}: {reason}", hint="check the disk, and who may read and write it"
        ) from error
