"""A shadow compares, fails and falls behind without anybody waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from gateway import eventually, settings
from phantom import PhantomSeries, received, write_series
from promotable import NAME, SHAPE, WIDE, Promotable, save_weights, write_promotable
from tiny_classifier import write_tiny_classifier
from tiny_model import TinyModel
from wetread import metrics
from wetread.bundle_components.classifiers import classifier
from wetread.config import Config, EmbeddedModel
from wetread.dicom.volume import load_volume
from wetread.errors import LedgerError, StorageError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models import shadow
from wetread.models.shadow import WAITING, Shadows
from wetread.models.shadow_record import (
    ClassPair,
    Outcome,
    SegmentPair,
    ShadowRecord,
    append_record,
    read_records,
    records_file,
    summarise,
)
from wetread.results import FindingsResult, ModelIdentity, SegmentationResult

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    return write_promotable(tmp_path_factory.mktemp("fresh") / "all")


@pytest.fixture
def here(fresh: Promotable, tmp_path: Path) -> Promotable:
    return fresh.copied_to(tmp_path / "all")


@pytest.fixture
def study(tmp_path: Path) -> PhantomSeries:
    return write_series(
        tmp_path / "study", shape=SHAPE, row_spacing_mm=16.0, column_spacing_mm=16.0
    )


def config_with(folder: Path, here: Promotable, candidate: Path) -> Config:
    model = {"bundle": str(here.bundle), "shadow": str(candidate)}
    return settings(folder, TinyModel(here.bundle, here.repository), {}, models={"tiny": model})


@contextmanager
def running(config: Config) -> Iterator[Shadows]:
    shadows = Shadows(config, lambda: 1_000_000.0)
    shadows.start()
    try:
        yield shadows
    finally:
        shadows.stop(30.0)


def result_of(here: Promotable, study: PhantomSeries) -> SegmentationResult:
    """What the current model finds: the ellipsoid."""
    config = EmbeddedModel(bundle=here.bundle)
    with closing(open_model("tiny", config, here.repository)) as model:
        found = model.read(load_volume(received(study)).volume, no_progress)
    assert isinstance(found, SegmentationResult)
    return found


def records(config: Config, count: int = 1) -> tuple[ShadowRecord, ...]:
    path = records_file(config.spool.path, "tiny")

    def look() -> tuple[ShadowRecord, ...] | None:
        found = read_records(path)
        return found if len(found) >= count else None

    return eventually(look, seconds=30)


def failures() -> float:
    return metrics.FAILURES.labels("shadow", "config")._value.get()


def test_the_masks_of_both_are_compared(
    tmp_path: Path, here: Promotable, study: PhantomSeries
) -> None:
    """The ellipsoid within the tissue: Dice and mL are arithmetic."""
    config = config_with(tmp_path, here, here.candidate(*WIDE))
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "job", received(study), result)
        [found] = records(config)
    values = study.values()
    small, large = (
        int(((values > 100) & (values < 140)).sum()),
        int(((values > 20) & (values < 140)).sum()),
    )
    voxel_ml = abs(np.linalg.det(study.affine[:3, :3])) / 1000
    assert found.outcome is Outcome.COMPARED, found.reason
    pair = found.segments["Ellipsoid"]
    assert pair.dice == pytest.approx(2 * small / (small + large))
    assert (pair.current_ml, pair.candidate_ml) == pytest.approx(
        (small * voxel_ml, large * voxel_ml)
    )
    assert (found.job_id, found.series_instance_uid) == ("job", study.series_instance_uid)
    assert found.current == result.model
    assert found.candidate is not None
    assert found.candidate.weights_sha256 != result.model.weights_sha256


def test_nothing_of_the_current_model_is_touched(
    tmp_path: Path, here: Promotable, study: PhantomSeries
) -> None:
    config = config_with(tmp_path, here, here.candidate(*WIDE))
    before, versions = here.files(), here.versions()
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "job", received(study), result)
        records(config)
    assert (here.files(), here.versions(), here.left_aside()) == (before, versions, [])


def test_changed_weights_of_a_candidate_are_taken_up(
    tmp_path: Path, here: Promotable, study: PhantomSeries
) -> None:
    candidate = here.candidate(*WIDE)
    config = config_with(tmp_path, here, candidate)
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "one", received(study), result)
        records(config)
        save_weights(candidate, 99.0, 141.0)
        shadows.offer("tiny", "two", received(study), result)
        first, second = records(config, 2)
    assert second.mean_dice == 1.0
    assert first.candidate != second.candidate
    found = summarise((first, second))
    assert (found.count, found.mean_dice, found.candidate) == (1, 1.0, second.candidate)


@pytest.mark.parametrize("fault", ["no folder", "no weights", "other labels"])
def test_a_shadow_that_cannot_read_is_recorded(
    tmp_path: Path, here: Promotable, study: PhantomSeries, fault: str
) -> None:
    candidate = here.candidate(*WIDE)
    if fault == "no folder":
        candidate = tmp_path / "nowhere"
    elif fault == "no weights":
        (candidate / "models/model.pt").write_bytes(b"none")
    else:
        path = candidate / "configs/dicom.json"
        path.write_text(path.read_text().replace('"Ellipsoid"', '"Lesion"'))
    config = config_with(tmp_path, here, candidate)
    result = result_of(here, study)
    with running(config) as shadows:
        for job in ("one", "two"):
            shadows.offer("tiny", job, received(study), result)
        found = records(config, 2)
    words = {
        "no folder": "No such file",
        "no weights": "these are no weights",
        "other labels": "answers another question",
    }
    for each in found:
        assert each.outcome is Outcome.FAILED
        assert words[fault] in each.reason
    summary = summarise(found)
    assert (summary.count, summary.failed) == (0, 2)
    assert words[fault] in summary.reason


def test_a_failure_is_counted(tmp_path: Path, here: Promotable, study: PhantomSeries) -> None:
    before = failures()
    config = config_with(tmp_path, here, tmp_path / "nowhere")
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "one", received(study), result)
        records(config)
    assert failures() == before + 1


def test_a_shadow_that_is_behind_skips_and_says_so(
    tmp_path: Path, here: Promotable, study: PhantomSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    opened = shadow.Shadows._model

    def slowly(shadows: Shadows, name: str) -> BundleModel:
        reading.set()
        assert go_on.wait(30)
        return opened(shadows, name)

    monkeypatch.setattr(shadow.Shadows, "_model", slowly)
    config = config_with(tmp_path, here, here.candidate(*WIDE))
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "job 0", received(study), result)
        assert reading.wait(30)
        for number in range(1, WAITING + 3):
            shadows.offer("tiny", f"job {number}", received(study), result)
        go_on.set()
        found = records(config, WAITING + 3)
    skipped = [each for each in found if each.outcome is Outcome.SKIPPED]
    assert {each.job_id for each in skipped} == {f"job {WAITING + 1}", f"job {WAITING + 2}"}
    assert summarise(found).skipped == 2


def test_what_waits_when_the_gateway_stops_is_recorded(
    tmp_path: Path, here: Promotable, study: PhantomSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = threading.Event()
    opened = shadow.Shadows._model

    def until_stopped(shadows: Shadows, name: str) -> BundleModel:
        model = opened(shadows, name)
        reading.set()
        assert shadows._stopping.wait(30)
        return model

    monkeypatch.setattr(shadow.Shadows, "_model", until_stopped)
    config = config_with(tmp_path, here, here.candidate(*WIDE))
    result = result_of(here, study)
    with running(config) as shadows:
        shadows.offer("tiny", "one", received(study), result)
        assert reading.wait(30)
        shadows.offer("tiny", "two", received(study), result)
    found = read_records(records_file(config.spool.path, "tiny"))
    assert [(each.job_id, each.outcome, each.reason) for each in found] == [
        ("one", Outcome.SKIPPED, "the gateway stopped"),
        ("two", Outcome.SKIPPED, "the gateway stopped"),
    ]


def test_a_model_without_a_shadow_is_left_alone(
    tmp_path: Path, here: Promotable, study: PhantomSeries
) -> None:
    config = settings(tmp_path, TinyModel(here.bundle, here.repository), {})
    with running(config) as shadows:
        shadows.offer("tiny", "job", received(study), result_of(here, study))
        assert not shadows._thread.is_alive()
    assert not records_file(config.spool.path, "tiny").exists()


# -- classifiers ----------------------------------------------------------------------------------


def test_the_probabilities_of_classifiers_are_compared(tmp_path: Path) -> None:
    """A network with random weights beside a result that is certain."""
    tiny = write_tiny_classifier(tmp_path / "model")
    torch.manual_seed(1)
    network = classifier("small_cnn", 2, 64)
    torch.save(network.state_dict(), tiny.bundle / "models/model.pt")
    series = write_series(tmp_path / "study", shape=(4, 24, 24))
    current = ModelIdentity("tiny", "0.1.0", "ab" * 32)
    result = FindingsResult((), current, probabilities={"above": 1.0, "below": 0.0})
    model = {"bundle": str(tiny.bundle), "shadow": str(tiny.bundle)}
    config = settings(tmp_path, tiny, {}, models={"tiny": model})
    with running(config) as shadows:
        shadows.offer("tiny", "job", received(series), result)
        [found] = records(config)
    assert found.outcome is Outcome.COMPARED, found.reason
    above, below = found.classes["above"], found.classes["below"]
    assert (above.current, below.current) == (1.0, 0.0)
    assert above.candidate + below.candidate == pytest.approx(1.0)
    assert found.has_same_label == (above.candidate > below.candidate)
    assert found.distance == pytest.approx(below.candidate)


# -- records --------------------------------------------------------------------------------------


def record(number: int = 1, **changes: object) -> ShadowRecord:
    values: dict[str, object] = {
        "at": datetime(2026, 3, 4, tzinfo=UTC),
        "job_id": f"j{number}",
        "study_instance_uid": "1.2",
        "series_instance_uid": f"1.2.{number}",
        "current": ModelIdentity(NAME, "0.1.0", "ab" * 32),
        "candidate": ModelIdentity(NAME, "0.1.0", "cd" * 32),
        "outcome": Outcome.COMPARED,
        "segments": {"a": SegmentPair(1.0 - number / 10, 10.0, 10.0 + number)},
        **changes,
    }
    return ShadowRecord(**values)  # type: ignore[arg-type]


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = (
        record(1),
        record(2, segments={}, classes={"x": ClassPair(0.25, 0.75)}),
        record(3, outcome=Outcome.FAILED, reason="no room", candidate=None, segments={}),
    )
    path = tmp_path / "deep/records.jsonl"
    for each in written:
        append_record(path, each)
    assert read_records(path) == written


def test_a_line_that_was_cut_short_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, record(1))
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')
    assert len(read_records(path)) == 1
    append_record(path, record(2))
    assert [each.job_id for each in read_records(path)] == ["j1", "j2"]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, record(1))
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(LedgerError, match="line 2 is no record of a shadow"):
        read_records(path)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        append_record(tmp_path / "file" / "records.jsonl", record())


def test_the_summary_has_means_and_the_farthest_first() -> None:
    found = summarise([record(number) for number in (1, 3, 2)])
    assert (found.count, found.failed, found.skipped) == (3, 0, 0)
    assert found.mean_dice == pytest.approx(0.8)
    assert found.segments["a"] == pytest.approx({"mean_dice": 0.8, "mean_difference_ml": 2.0})
    assert [each.job_id for each in found.worst] == ["j3", "j2", "j1"]
    assert found.same_label is None


def test_a_series_that_was_read_again_counts_once() -> None:
    again = record(1, segments={"a": SegmentPair(0.5, 1.0, 1.0)})
    found = summarise([record(1), again])
    assert (found.count, found.mean_dice) == (1, 0.5)


def test_the_summary_of_classifiers_says_how_often_they_agree() -> None:
    pairs = [(0.9, 0.7), (0.4, 0.6), (0.2, 0.1), (0.8, 0.9)]
    found = summarise(
        [
            record(n, segments={}, classes={"x": ClassPair(*pair), "y": ClassPair(0.5, 0.5)})
            for n, pair in enumerate(pairs)
        ]
    )
    assert found.same_label == 0.75
    assert found.classes == pytest.approx({"x": 0.15, "y": 0.0})
    assert found.mean_dice is None


def test_no_record_makes_an_empty_summary(tmp_path: Path) -> None:
    found = summarise(read_records(tmp_path / "records.jsonl"))
    assert (found.count, found.candidate, found.worst) == (0, None, ())
