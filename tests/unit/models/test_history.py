"""The history of a bundle: read back as written, never twice, and which version comes next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wetread.errors import ConfigError
from wetread.models.history import (
    HISTORY,
    Action,
    Entry,
    append_entry,
    next_number,
    next_version,
    promotion_to_undo,
    read_history,
)
from wetread.results import ModelIdentity


def model(version: str) -> ModelIdentity:
    return ModelIdentity("m", version, "ab" * 32)


def entry(number: int, action: Action = Action.PROMOTED, version: str = "0.1.1") -> Entry:
    return Entry(
        number,
        action,
        datetime(2026, 3, 4, tzinfo=UTC),
        "ann",
        model("0.1.0"),
        None if action is Action.REFUSED else model(version),
        figures={"val": {"figure": "Dice", "count": 3}},
    )


def test_an_entry_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = entry(1), entry(2, Action.REFUSED), replace(entry(3, Action.ROLLED_BACK), undoes=1)
    for each in written:
        append_entry(tmp_path, each)
    assert read_history(tmp_path) == written


def test_an_entry_that_is_there_is_not_added_again(tmp_path: Path) -> None:
    for _ in range(2):
        append_entry(tmp_path, entry(1))
    assert len(read_history(tmp_path)) == 1


def test_a_bundle_that_was_never_promoted_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path) == ()
    assert next_number(tmp_path, ()) == 1


def test_the_number_of_a_kept_state_is_not_given_again(tmp_path: Path) -> None:
    """Even if the history was lost."""
    (tmp_path / ".promotions/4/before").mkdir(parents=True)
    assert next_number(tmp_path, [entry(2)]) == 5


@pytest.mark.parametrize("text", ["{", '[{"number": 1}]', '[{"number": 1, "action": "sold"}]'])
def test_a_history_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / HISTORY).parent.mkdir()
    (tmp_path / HISTORY).write_text(text)
    with pytest.raises(ConfigError, match=r"history\.json is no history of promotions"):
        read_history(tmp_path)


def test_rollbacks_undo_promotions_from_the_last_to_the_first(tmp_path: Path) -> None:
    entries = [entry(1), entry(2, Action.REFUSED), entry(3)]
    undone = []
    while (found := promotion_to_undo(entries)) is not None:
        undone.append(found.number)
        number = next_number(tmp_path, entries)
        entries.append(replace(entry(number, Action.ROLLED_BACK), undoes=found.number))
    assert undone == [3, 1]


def test_a_promotion_after_a_rollback_is_the_next_to_undo() -> None:
    entries = [entry(1), replace(entry(2, Action.ROLLED_BACK), undoes=1), entry(3)]
    found = promotion_to_undo(entries)
    assert found is not None
    assert found.number == 3


@pytest.mark.parametrize(
    ("current", "promoted", "wanted"),
    [
        ("0.1.0", [], "0.1.1"),
        ("0.1.9", [], "0.1.10"),
        # What was rolled back keeps its name for good.
        ("0.1.0", ["0.1.1", "0.1.2"], "0.1.3"),
        ("0.2.0", ["0.1.7"], "0.2.1"),
        ("1.1.0", ["0.1.7"], "1.1.1"),
    ],
)
def test_no_version_names_two_contents(current: str, promoted: list[str], wanted: str) -> None:
    entries = [entry(number, version=each) for number, each in enumerate(promoted)]
    assert next_version(current, entries) == wanted


@pytest.mark.parametrize("version", ["1", "1.2", "1.2.3rc1", "v1.2.3"])
def test_a_version_without_a_patch_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="has no patch number"):
        next_version(version, ())
