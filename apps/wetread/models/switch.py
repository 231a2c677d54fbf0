"""From one version of a bundle to another, so that a kill at any moment leaves one of the two.

Everything is written aside first, then a journal says what is to be done. Until every server has
the new networks, whoever finds the journal undoes what was begun; from then on, the rest is done.
Gateways open nothing while a journal is there, see `infer.served`, and read on with what they have.

    .promotions/<number>/before/…               the state before, see `kept`
    .promotions/<number>/after/…                files of the bundle to come
    <repository>/.promotion-<bundle>-<number>/… versions of networks to come
"""

from __future__ import annotations

import enum
import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wetread.config import ModelConfig, TritonModel
from wetread.errors import ConfigError, InferenceError, StorageError, WetreadError
from wetread.files import sync_folder, write_atomically
from wetread.infer.description import load_networks
from wetread.infer.served import JOURNAL, PROMOTIONS
from wetread.models.history import Entry, append_entry, entry_of, read_history
from wetread.models.kept import STATE, copy_version, keep_state
from wetread.models.manifest import renew_seal
from wetread.models.readings import write_reading
from wetread.models.record import read_record, sha256_of, write_record
from wetread.models.serving import remove_others, write_serving
from wetread.triton.reading_config import SUFFIX

# Lets the servers load the newest version of a network. Raises InferenceError.
Load = Callable[[str], object]
# Told each step that is done.
Reached = Callable[[str], None]
_LOCK = f"{PROMOTIONS}/lock"


def no_servers(_network: str) -> None:
    """The networks run in the gateway's process."""


def servers_of(configs: Iterable[ModelConfig]) -> Load:
    """Lets every server of those models that run on Triton load a network."""
    served = [each for each in configs if isinstance(each, TritonModel)]

    def load(network: str) -> None:
        for config in served:
            # tritonclient is for those who use it.
            from wetread.infer.triton import TritonServers

            with closing(TritonServers(config)) as servers:
                servers.load(network)

    return load


def nobody(_step: str) -> None:
    """Tell nobody."""


class _Phase(enum.StrEnum):
    INSTALLING = "installing"
    SWITCHING = "switching"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to come: files of the bundle (None: it goes), and a version of each network.

    `versions` has the folder that it is copied from; `numbers` say which version it becomes, and
    with `is_resealed` the bundle's manifest is written anew, if it has one.
    """

    bundle: Path
    repository: Path
    entry: Entry
    files: Mapping[str, bytes | Path | None]
    versions: Mapping[str, Path]
    numbers: Mapping[str, str]
    is_resealed: bool

    @property
    def folder(self) -> Path:
        """Where the states before and after are kept."""
        return self.bundle / PROMOTIONS / str(self.entry.number)


@dataclass(frozen=True, slots=True)
class _Journal:
    """What was staged, and how far it is. `files` have their SHA-256, `versions` their number."""

    phase: _Phase
    repository: Path
    entry: Entry
    files: Mapping[str, str | None]
    versions: Mapping[str, str]
    is_resealed: bool

    def write(self, bundle: Path) -> None:
        values = {
            "phase": str(self.phase),
            "repository": str(self.repository),
            "entry": self.entry.as_dict(),
            "files": dict(self.files),
            "versions": dict(self.versions),
            "is_resealed": self.is_resealed,
        }
        write_atomically(bundle / JOURNAL, [json.dumps(values, indent=2).encode()])

    def aside(self, bundle: Path) -> Path:
        return _aside(bundle, self.repository, self.entry.number)


def _aside(bundle: Path, repository: Path, number: int) -> Path:
    return repository / f".promotion-{bundle.name}-{number}"


@contextmanager
def only_promotion(bundle: Path) -> Iterator[None]:
    """Hold the bundle's lock. Raises ConfigError if another promotion does, or StorageError."""
    with _lock(bundle) as is_ours:
        if not is_ours:
            raise ConfigError(
                f"another promotion of {bundle.name} is under way", hint="wait until it has ended"
            )
        yield


@contextmanager
def _lock(bundle: Path) -> Iterator[bool]:
    """Whether the lock is ours for the block."""
    path = bundle / _LOCK
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="check the folder's owner and mode"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def switch(change: Change, load: Load = no_servers, reached: Reached = nobody) -> None:
    """Put it in the place of what is served; the caller holds `only_promotion`.

    Raises StorageError, and InferenceError if a server cannot load it: all is as before then.
    """
    journal = _staged(change)
    reached("staged")
    journal.write(change.bundle)
    reached("journal")
    try:
        _install(change.bundle, journal, load, reached)
    except WetreadError:
        _undo(change.bundle, journal, _where_they_answer(load))
        raise
    committed = replace(journal, phase=_Phase.SWITCHING)
    committed.write(change.bundle)
    reached("committed")
    _finish(change.bundle, committed, reached)


def _where_they_answer(load: Load) -> Load:
    """A server that does not answer now loads what lies in the repository when it starts again."""

    def asked(network: str) -> None:
        with suppress(InferenceError):
            load(network)

    return asked


@dataclass(frozen=True, slots=True)
class Settled:
    """A switch that was cut short, and whether it was finished now, or undone."""

    entry: Entry
    is_finished: bool

    def __str__(self) -> str:
        what = "finished" if self.is_finished else "undone"
        return f"{what}: {self.entry.action} {self.entry.number}"


def settle(bundle: Path, load: Load = no_servers) -> Settled | None:
    """Finish or undo a switch that was cut short; None if there is none.

    One that is under way in another process is left to it. Raises as `switch`.
    """
    if not (bundle / JOURNAL).exists():
        return None
    with _lock(bundle) as is_ours:
        return settle_locked(bundle, load) if is_ours else None


def settle_locked(bundle: Path, load: Load = no_servers) -> Settled | None:
    """The same, for who holds `only_promotion`."""
    if not (bundle / JOURNAL).exists():
        return None
    journal = _read(bundle)
    is_finished = journal.phase is _Phase.SWITCHING
    if is_finished:
        _finish(bundle, journal, nobody)
    else:
        _undo(bundle, journal, load)
    return Settled(journal.entry, is_finished)


def remove_leftovers(bundle: Path, repository: Path) -> None:
    """What a switch staged that was killed before its journal; for who holds the lock.

    A state that is kept whole stays, even if the history does not know of it any more.
    """
    known = {each.number for each in read_history(bundle)}
    for folder in (bundle / PROMOTIONS).glob("*"):
        if not folder.name.isdecimal() or int(folder.name) in known:
            continue
        if (folder / "after").exists() or not (folder / "before" / STATE).is_file():
            shutil.rmtree(folder)
    for folder in repository.glob(f".promotion-{bundle.name}-*"):
        shutil.rmtree(folder)


# -- the steps: each may be done twice ------------------------------------------------------------


def _staged(change: Change) -> _Journal:
    """Write all that is to come beside what is there."""
    keep_state(change.bundle, change.repository, change.versions, change.folder / "before")
    hashes: dict[str, str | None] = {}
    for name, content in change.files.items():
        place = change.folder / "after" / name
        if content is None:
            hashes[name] = None
            continue
        data = content if isinstance(content, bytes) else content.read_bytes()
        write_atomically(place, [data])
        hashes[name] = sha256_of(place)
    aside = _aside(change.bundle, change.repository, change.entry.number)
    for network, folder in change.versions.items():
        place = aside / network
        copy_version(folder, place)
        write_record(replace(read_record(place), version=change.numbers[network]), place)
    return _Journal(
        _Phase.INSTALLING,
        change.repository.resolve(),
        change.entry,
        hashes,
        change.numbers,
        change.is_resealed,
    )


def _install(bundle: Path, journal: _Journal, load: Load, reached: Reached) -> None:
    for network, number in journal.versions.items():
        _move(journal.aside(bundle) / network, journal.repository / network / number)
        reached(f"installed {network}")
    _write_servings(bundle, journal)
    reached("serving")
    for network in journal.versions:
        load(network)
    reached("loaded")


def _undo(bundle: Path, journal: _Journal, load: Load) -> None:
    for network, number in journal.versions.items():
        place = journal.repository / network / number
        if place.is_dir():
            _move(place, journal.aside(bundle) / network)
    _write_servings(bundle, journal)
    for network in journal.versions:
        load(network)
    _end(bundle)
    shutil.rmtree(journal.aside(bundle), ignore_errors=True)
    shutil.rmtree(bundle / PROMOTIONS / str(journal.entry.number), ignore_errors=True)


def _finish(bundle: Path, journal: _Journal, reached: Reached) -> None:
    folder = bundle / PROMOTIONS / str(journal.entry.number)
    for name, sha256 in journal.files.items():
        _put(folder / "after" / name, bundle / name, sha256)
        reached(f"file {name}")
    if journal.is_resealed:
        renew_seal(bundle)
    reached("sealed")
    for network in journal.versions:
        remove_others(load_networks(bundle)[network], journal.repository)
    if (journal.repository / f"{bundle.name}{SUFFIX}").is_dir():
        write_reading(bundle, journal.repository)
    reached("reading")
    append_entry(bundle, journal.entry)
    reached("recorded")
    _end(bundle)
    reached("switched")
    shutil.rmtree(journal.aside(bundle), ignore_errors=True)
    shutil.rmtree(folder / "after", ignore_errors=True)
    reached("tidied")


def _end(bundle: Path) -> None:
    (bundle / JOURNAL).unlink()
    sync_folder((bundle / JOURNAL).parent)


def _write_servings(bundle: Path, journal: _Journal) -> None:
    for network in journal.versions:
        write_serving(bundle, load_networks(bundle)[network], journal.repository)


def _move(folder: Path, place: Path) -> None:
    if place.is_dir():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)
        sync_folder(place.parent)
    except OSError as error:
        raise StorageError(
            f"cannot move {folder} to {place}: {error.strerror}",
            hint="check the folder's owner and mode, then do it again",
        ) from error


def _put(staged: Path, place: Path, sha256: str | None) -> None:
    if sha256 is None:
        place.unlink(missing_ok=True)
        return
    if place.is_file() and sha256_of(place) == sha256:
        return
    if not staged.is_file() or sha256_of(staged) != sha256:
        raise StorageError(f"{staged} is not what was staged", hint="restore it from a backup")
    write_atomically(place, [staged.read_bytes()])


def _read(bundle: Path) -> _Journal:
    path = bundle / JOURNAL
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return _Journal(
            _Phase(values["phase"]),
            Path(values["repository"]),
            entry_of(values["entry"]),
            values["files"],
            values["versions"],
            values["is_resealed"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path} is no journal of a promotion: {error}", hint="restore it from a backup"
        ) from error
