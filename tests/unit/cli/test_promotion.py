"""`wetread models promote`, `rollback` and `history` as a shell sees them."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from command_line import Ended
from promotable import NAME, WIDE, Promotable, write_promotable
from unit.cli.conftest import Run
from wetread.cli import promotion
from wetread.models.shadow_record import (
    ClassPair,
    Outcome,
    SegmentPair,
    ShadowRecord,
    append_record,
    records_file,
)
from wetread.results import ModelIdentity

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    return write_promotable(tmp_path_factory.mktemp("fresh") / "all")


@pytest.fixture
def here(fresh: Promotable, tmp_path: Path) -> Promotable:
    return fresh.copied_to(tmp_path / "all")


def promote(wetread: Run, here: Promotable, bounds: tuple[float, float], *options: object) -> Ended:
    places = ("--bundles", here.bundle.parent, "--repository", here.repository)
    terms = ("--least-cases", 4, "--least-group", 2)
    candidate = here.candidate(*bounds)
    given = ("--candidate", candidate, "--data", here.data, *terms, *places, *options)
    return wetread("models", "promote", NAME, *given)


def history(wetread: Run, here: Promotable) -> Any:
    return wetread("models", "history", NAME, "--bundles", here.bundle.parent, "--json").json


def test_a_promotion_shows_its_figures_and_the_new_version(wetread: Run, here: Promotable) -> None:
    ended = promote(wetread, here, WIDE, "--by", "ann")
    assert ended.exit_code == 0, ended.err
    assert "0.667" in ended.out
    assert "+0.3333 [+0.3333 to +0.3333]" in ended.out
    assert f"promoted: {NAME} 0.1.1" in ended.out
    [entry] = history(wetread, here)
    assert (entry["action"], entry["by"]) == ("promoted", "ann")


def test_a_refusal_ends_with_its_reasons_and_an_error(wetread: Run, here: Promotable) -> None:
    ended = promote(wetread, here, (900.0, 901.0))
    assert ended.is_error(5, "the candidate is refused", "Dice 0.667 → 0.000", "sex F")
    assert "−0.6667" in ended.out
    [entry] = history(wetread, here)
    assert (entry["action"], entry["after"], entry["by"]) == ("refused", None, getpass.getuser())


def test_a_dry_run_says_what_would_be(wetread: Run, here: Promotable, tmp_path: Path) -> None:
    ended = promote(wetread, here, WIDE, "--dry-run", "--page", tmp_path / "page.html")
    assert ended.exit_code == 0, ended.err
    assert "it would be promoted" in ended.out
    assert (tmp_path / "page.html").is_file()
    assert (tmp_path / "page.json").is_file()
    assert promote(wetread, here, (900.0, 901.0), "--dry-run").exit_code == 5
    assert history(wetread, here) == []


def test_the_json_has_the_verdict_the_sets_and_the_entry(wetread: Run, here: Promotable) -> None:
    found = promote(wetread, here, WIDE, "--json").json
    assert found["is_promotion"] is True
    assert found["sets"][0]["whole"]["candidate"] == 1.0
    assert found["entry"]["after"]["version"] == "0.1.1"
    assert json.loads(Path(found["page"]).with_suffix(".json").read_text())["is_promotion"] is True


def test_a_rollback_is_shown_and_kept(wetread: Run, here: Promotable) -> None:
    before = here.files()
    promote(wetread, here, WIDE)
    places = ("--bundles", here.bundle.parent, "--repository", here.repository)
    ended = wetread("models", "rollback", NAME, "--reason", "readers complain", *places)
    assert ended.exit_code == 0, ended.err
    assert "readers complain" in ended.out
    assert here.files() == before
    shown = wetread("models", "history", NAME, "--bundles", here.bundle.parent)
    assert [word in shown.out for word in ("promoted", "rolled back", "0.1.1")] == [True] * 3
    again = wetread("models", "rollback", NAME, *places)
    assert again.is_error(2, "has no promotion to undo")


def test_a_candidate_that_is_no_bundle_is_refused(wetread: Run, here: Promotable) -> None:
    places = ("--bundles", here.bundle.parent, "--candidate", here.data)
    assert wetread("models", "promote", NAME, *places).is_error(2, "is no bundle")


def test_the_candidate_that_was_trained_on_the_annotations_is_the_usual_one(
    wetread: Run, here: Promotable, tmp_path: Path
) -> None:
    here.candidate(*WIDE, name=f"annotations/{NAME}/candidate")
    folder = here.bundle.parent.parent / "annotations"
    given = ("--annotations", folder, "--data", here.data, "--least-cases", 4, "--dry-run")
    places = ("--bundles", here.bundle.parent, "--repository", here.repository)
    ended = wetread("models", "promote", NAME, *given, *places)
    assert ended.exit_code == 0, ended.err
    assert "1.000" in ended.out
    none = wetread("models", "promote", NAME, "--data", here.data, *places)
    assert none.is_error(2, "no candidate")


def test_the_settings_must_serve_from_the_same_repository(
    wetread: Run, here: Promotable, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[models.m]\nbundle = "{here.bundle}"\n', encoding="utf-8")
    ended = promote(wetread, here, WIDE, "--config", file)
    assert ended.is_error(2, "m is served from", "not from")
    assert here.versions() == ["1"]


def test_servers_of_the_settings_load_it_or_nothing_changes(
    wetread: Run, here: Promotable, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'model_repository = "{here.repository}"\n[models.m]\nbundle = "{here.bundle}"\n'
        'backend = "triton"\ntriton_url = "grpc://127.0.0.1:1"\n',
        encoding="utf-8",
    )
    before = here.files()
    ended = promote(wetread, here, WIDE, "--config", file)
    assert ended.is_error(5, "grpc://127.0.0.1:1: it cannot be reached")
    assert (here.files(), here.versions()) == (before, ["1"])
    assert history(wetread, here) == []


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert promotion._who(None).startswith("user ")
    assert promotion._who("ann") == "ann"


def write_shadow(folder: Path, *records: ShadowRecord) -> Path:
    file = folder / "gateway.toml"
    file.write_text('[models.m]\nbundle = "b"\nshadow = "c"\n', encoding="utf-8")
    for each in records:
        append_record(records_file(folder / "spool", "m"), each)
    return file


def shadow_record(**changes: Any) -> ShadowRecord:
    values: dict[str, Any] = {
        "at": datetime(2026, 3, 4, tzinfo=UTC),
        "job_id": "1",
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.3",
        "current": ModelIdentity("m", "0.1.0", "ab" * 32),
        "candidate": ModelIdentity("m", "0.1.0", "cd" * 32),
        "outcome": Outcome.COMPARED,
        **changes,
    }
    return ShadowRecord(**values)


def test_a_shadow_is_shown_with_the_series_that_lie_farthest_apart(
    wetread: Run, tmp_path: Path
) -> None:
    found = shadow_record(segments={"Left": SegmentPair(0.75, 4.0, 3.5)})
    failed = shadow_record(outcome=Outcome.FAILED, reason="no room", candidate=None)
    file = write_shadow(tmp_path, found, failed)
    ended = wetread("models", "shadow", "m", "--config", file)
    assert ended.exit_code == 0, ended.err
    for words in ("Dice 0.750, candidate − current −0.500 mL", "1.2.3", "no room", "cdcdcdcdcdcd"):
        assert words in ended.out
    values = wetread("models", "shadow", "m", "--config", file, "--json").json
    assert (values["count"], values["failed"], values["mean_dice"]) == (1, 1, 0.75)


def test_a_shadow_of_a_classifier_is_shown(wetread: Run, tmp_path: Path) -> None:
    found = shadow_record(classes={"x": ClassPair(0.9, 0.6), "y": ClassPair(0.1, 0.4)})
    ended = wetread("models", "shadow", "m", "--config", write_shadow(tmp_path, found))
    assert "100.0 %" in ended.out
    assert "probabilities differ by 0.300" in ended.out


def test_a_shadow_of_an_unknown_model_is_refused(wetread: Run, tmp_path: Path) -> None:
    ended = wetread("models", "shadow", "n", "--config", write_shadow(tmp_path))
    assert ended.is_error(2, "no model 'n'; known: m")
