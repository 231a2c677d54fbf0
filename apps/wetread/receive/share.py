"""The spool's files in a bucket too, for machines that have no disk in common.

Each file has the same name in the bucket as below the spool's folder. It is put there before the
ledger knows of it, and fetched by whoever wants it and has it not. An object is whole or not there.
The name of a file says what is in it, so one that was fetched is known to be the right one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wetread.config import Config, ShareConfig
from wetread.errors import ConfigError, ShareAwayError, StorageError
from wetread.files import secret_in, write_atomically

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

_AT_ONCE = 8
# `<uid>.<sha256 of the data set>.dcm`, and `<uid>.<first 8 of the file's sha256>.dcm`.
_DATA_SET = re.compile(r".+\.([0-9a-f]{64})\.dcm")
_RESULT = re.compile(r".+\.([0-9a-f]{8})\.dcm")


class Share:
    """The bucket behind the spool in `folder`. Safe to use from several threads.

    What its methods raise is StorageError; for a file that is wanted from a bucket that does not
    answer, ShareAwayError.
    """

    def __init__(self, config: ShareConfig, folder: Path) -> None:
        """Nothing is asked yet. Raises ConfigError."""
        self._config = config
        self._folder = folder
        self._store = _opened(config)

    @property
    def url(self) -> str:
        """Where it is, for a person."""
        return self._config.url

    @property
    def keep_seconds(self) -> float:
        """How long a file that nobody uses stays on this disk."""
        return 3600.0 * self._config.keep_hours

    def publish(self, path: Path) -> None:
        """Put a file into the bucket, unless it is there."""
        import obstore

        key = self._key(path)
        with self._errors(f"put {key}"):
            if not self._has(key):
                obstore.put(self._store, key, path)

    def obtain(self, paths: Iterable[Path]) -> None:
        """Fetch those of the files that are not here. All of them stay for `keep_hours`."""
        wanted = [path for path in dict.fromkeys(paths) if not _is_touched(path)]
        if wanted:
            with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
                list(pool.map(self._fetch, wanted))

    def has(self, path: Path) -> bool:
        """Whether the bucket has the file."""
        key = self._key(path)
        with self._errors(f"look for {key}"):
            return self._has(key)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files from the bucket; those that are not there are no error."""
        import obstore

        keys = [self._key(path) for path in paths]
        with self._errors("remove files"):
            if keys:
                obstore.delete(self._store, keys)

    def files_in(self, folder: Path) -> Iterator[Path]:
        """The files that the bucket has in a folder of the spool and below."""
        import obstore

        key = self._key(folder)
        with self._errors(f"list {key}"):
            for found in obstore.list(self._store, f"{key}/"):
                yield from (self._folder / each["path"] for each in found)

    def test(self) -> str:
        """Put, read and remove an object. Gives a line for a person."""
        import obstore

        key = f"doctor/{os.urandom(8).hex()}"
        with self._errors("put and read an object"):
            obstore.put(self._store, key, key.encode())
            found = obstore.get(self._store, key).bytes().to_bytes()
            obstore.delete(self._store, [key])
        if found != key.encode():
            raise StorageError(
                f"{self.url} gave other bytes than were put there",
                hint="ask whoever runs the object storage",
            )
        return f"{self.url} keeps what is put there"

    def _fetch(self, path: Path) -> None:
        import obstore
        from obstore.exceptions import NotFoundError

        key = self._key(path)
        with self._errors(f"get {key}", ShareAwayError):
            try:
                content = obstore.get(self._store, key).bytes().to_bytes()
            except (NotFoundError, FileNotFoundError) as error:
                raise StorageError(
                    f"{path} is neither here nor in {self.url}",
                    hint="somebody else has removed it; have the study sent again",
                ) from error
        if not _is_named_after(path, content):
            raise StorageError(
                f"{self.url}/{key} has other bytes than its name says ({len(content)} bytes)",
                hint="somebody has changed the object; restore it, or have the study sent again",
            )
        write_atomically(path, [content])

    def _has(self, key: str) -> bool:
        import obstore
        from obstore.exceptions import NotFoundError

        try:
            obstore.head(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def _key(self, path: Path) -> str:
        try:
            return path.relative_to(self._folder).as_posix()
        except ValueError as error:
            raise StorageError(
                f"{path} is not below the spool's folder {self._folder}",
                hint="give every machine the same [spool] path",
            ) from error

    @contextlib.contextmanager
    def _errors(self, what: str, kind: type[StorageError] = StorageError) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            said = str(error).splitlines()[0]
            raise kind(
                f"{self.url}: cannot {what}: {said}",
                hint="check the object storage, [spool.share] and its keys; wetread tries again",
            ) from error


def _is_touched(path: Path) -> bool:
    """Whether the file is here; if so, it was used just now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _is_named_after(path: Path, content: bytes) -> bool:
    """A file from the time before there was a bucket says nothing, and is taken as it is."""
    if found := _DATA_SET.fullmatch(path.name):
        return hashlib.sha256(content[data_set_offset(content[:144]) :]).hexdigest() == found[1]
    if found := _RESULT.fullmatch(path.name):
        return hashlib.sha256(content).hexdigest().startswith(found[1])
    return True


def data_set_offset(start: bytes) -> int:
    """Where the data set begins: the file meta information names its own length (PS3.10 7.1)."""
    return 144 + int.from_bytes(start[140:144], "little")


def _opened(config: ShareConfig) -> S3Store:
    try:
        from obstore.store import S3Store
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[spool.share] names a bucket, and what speaks S3 is not installed",
            hint="install the extra: pip install 'wetread[s3]'",
        ) from error
    bucket, _, prefix = config.url.removeprefix("s3://").partition("/")
    limit = timedelta(seconds=config.timeout_seconds)
    settings: S3Config = {}
    if config.endpoint_url:
        settings["endpoint"] = config.endpoint_url
    if config.region:
        settings["region"] = config.region
    if config.access_key:
        settings["access_key_id"] = config.access_key
        key_file = config.secret_key_file
        settings["secret_access_key"] = secret_in(key_file, "spool.share.secret_key_file")
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=settings,
        client_options={
            "timeout": limit,
            "allow_http": config.endpoint_url.startswith("http://"),
        },
        retry_config={"max_retries": 2, "retry_timeout": limit},
    )


def open_share(config: Config) -> Share | None:
    """The bucket behind the spool, if the settings name one. Raises ConfigError."""
    if config.spool.share is None:
        return None
    if not config.database.is_shared:
        raise ConfigError(
            "[spool.share] is for several machines, and the ledger is in SQLite",
            hint="name a PostgreSQL as [database] url, or leave [spool.share] out",
        )
    return Share(config.spool.share, config.spool.path)
