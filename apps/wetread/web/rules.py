"""Rules as people read them, a decision as a page shows it, and the tester."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from wetread.config import Conditions, Config, Rule
from wetread.errors import InputError
from wetread.offline.routing import decide

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule; `when` is its conditions, each with what it wants."""

    name: str
    when: dict[str, str]
    run: tuple[str, ...]
    send_results_to: tuple[str, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One condition: what it wanted, what it saw, and whether it held."""

    name: str
    wanted: str
    seen: str
    held: bool


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One rule, looked at for one series."""

    rule: str
    matched: bool
    conditions: tuple[ConditionRow, ...]


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """What follows for a series: its models, and where their results go."""

    rule: str
    models: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesDecision:
    """Every rule that was looked at for one series, or one stack of it, and what follows."""

    series_instance_uid: str
    stack: str
    outcomes: tuple[OutcomeRow, ...]
    choices: tuple[ChoiceRow, ...]


@dataclass(frozen=True, slots=True)
class StudyDecision:
    """The decision on a study."""

    study_instance_uid: str
    series: tuple[SeriesDecision, ...]


def rule_rows(config: Config) -> tuple[RuleRow, ...]:
    """The rules, in the order in which they are looked at."""
    return tuple(_rule_row(rule) for rule in config.rules)


def _rule_row(rule: Rule) -> RuleRow:
    wanted = {name: getattr(rule.when, name) for name in Conditions.model_fields}
    when = {name: _shown(value) for name, value in wanted.items() if value is not None}
    return RuleRow(rule.name, when, rule.run, rule.send_results_to, rule.priority)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " or ".join(value) if isinstance(value, tuple) else f"{value:g}"


def series_decisions(decision: Mapping[str, Any]) -> tuple[SeriesDecision, ...]:
    """A routing decision as the ledger keeps it, series by series."""
    outcomes, selections = decision.get("outcomes", []), decision.get("selections", [])
    keys = dict.fromkeys(_key(each) for each in [*outcomes, *selections])
    return tuple(
        SeriesDecision(
            *key,
            tuple(_outcome(each) for each in outcomes if _key(each) == key),
            tuple(_choice(each) for each in selections if _key(each) == key),
        )
        for key in keys
    )


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["series_instance_uid"], item.get("stack", "")


def _outcome(item: Mapping[str, Any]) -> OutcomeRow:
    conditions = tuple(ConditionRow(**each) for each in item["conditions"])
    return OutcomeRow(item["rule"], item["matched"], conditions)


def _choice(item: Mapping[str, Any]) -> ChoiceRow:
    return ChoiceRow(item["rule"], tuple(item["models"]), tuple(item["destinations"]))


def try_rules(
    files: Sequence[tuple[str, BinaryIO]], config: Config, calling_ae_title: str
) -> tuple[StudyDecision, ...]:
    """The decision on each study among uploaded files, DICOM or one ZIP archive; nothing of them
    stays. Raises InputError or RoutingError."""
    if not files:
        raise InputError("no file was given", hint="choose DICOM files, or one ZIP archive")
    with _on_disk(files, config.web.max_upload_bytes) as path:
        found = decide(path, config, calling_ae_title)
    return tuple(
        StudyDecision(each.study_instance_uid, series_decisions(asdict(each))) for each in found
    )


@contextmanager
def _on_disk(files: Sequence[tuple[str, BinaryIO]], max_bytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wetread-rules-") as folder:
        places = []
        for number, (name, content) in enumerate(files):
            # Two slices may have one name; the name itself is for the words of an error.
            place = Path(folder) / f"{number:06d}" / (PurePosixPath(name).name or "file")
            place.parent.mkdir()
            with place.open("wb") as file:
                while chunk := content.read(_CHUNK_BYTES):
                    file.write(chunk)
            places.append(place)
        only = places[0] if len(places) == 1 else None
        if only is not None and zipfile.is_zipfile(only):
            _check_size(only, max_bytes)
        yield only or Path(folder)


def _check_size(path: Path, max_bytes: int) -> None:
    """A member is never unpacked beyond the size that the archive gives."""
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(each.file_size for each in archive.infolist())
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path.name}: cannot unpack: {error}", hint="unpack it by hand"
        ) from error
    if size_bytes > max_bytes:
        raise InputError(
            f"{path.name} unpacks to {size_bytes} bytes, more than {max_bytes}",
            hint="give one series of it, or raise web.max_upload_bytes",
        )
