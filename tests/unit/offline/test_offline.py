"""Reading and routing what lies on disk gives what the gateway would have given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from phantom import PhantomSeries, grid_points, write_series
from readings import complaints
from tiny_model import TinyModel
from wetread.config import Conditions, Config, EmbeddedModel, Rule
from wetread.errors import ConfigError, StorageError, UnsupportedSeriesError
from wetread.infer.bundle import BundleModel
from wetread.offline.reading import open_named_model, read_path
from wetread.offline.routing import decide


def config_with(tiny: TinyModel) -> Config:
    return Config(
        model_repository=tiny.repository, models={"tiny": EmbeddedModel(bundle=tiny.bundle)}
    )


@pytest.fixture
def model(tiny_ct: TinyModel) -> Iterator[BundleModel]:
    opened = open_named_model("tiny", config_with(tiny_ct))
    yield opened
    opened.close()


@pytest.fixture
def study(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "study", oblique_degrees=17, shuffled=True)


def test_the_mask_lies_on_the_millimetres_of_the_ellipsoid(
    model: BundleModel, study: PhantomSeries, tmp_path: Path
) -> None:
    [reading] = read_path(tmp_path / "study", model, tmp_path / "out")
    seg = highdicom.seg.segread(next(path for path in reading.files if "SEG" in path.name))
    found = seg.get_volume(combine_segments=True)
    points = grid_points(np.asarray(found.affine), found.array.shape)
    assert np.array_equal(np.asarray(found.array) > 0, study.mask_at(points))
    assert seg.StudyInstanceUID == study.study_instance_uid


def test_every_object_is_conformant(
    model: BundleModel, study: PhantomSeries, tmp_path: Path
) -> None:
    [reading] = read_path(study.paths[0].parent, model, tmp_path / "out")
    assert [complaints(path.read_bytes(), tmp_path) for path in reading.files] == [[], [], []]
    assert all(dcmread(path).PatientName == study.patient_name for path in reading.files)


def test_progress_names_the_stages_in_order(
    model: BundleModel, study: PhantomSeries, tmp_path: Path
) -> None:
    seen: dict[str, float] = {}
    read_path(study.paths[0].parent, model, tmp_path / "out", seen.__setitem__)
    assert list(seen) == ["load", "preprocess", "forward", "postprocess", "encode"]
    assert set(seen.values()) == {1.0}


def test_no_series_for_the_model_gives_each_reason_and_no_folder(
    model: BundleModel, tmp_path: Path
) -> None:
    write_series(tmp_path / "study", modality="MR", shape=(4, 16, 16))
    with pytest.raises(UnsupportedSeriesError, match=r"tiny wants CT with ≥ 3 .* got MR with 4"):
        read_path(tmp_path / "study", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    model: BundleModel, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is no folder that may be written"):
        read_path(tmp_path / "no such study", model, tmp_path / "file" / "out")


def test_a_model_is_found_by_name_or_by_the_path_of_its_bundle(tiny_ct: TinyModel) -> None:
    config = config_with(tiny_ct)
    for name, expected in (("tiny", "tiny"), (str(tiny_ct.bundle), tiny_ct.bundle.name)):
        opened = open_named_model(name, config)
        opened.close()
        assert opened.name == expected
    with pytest.raises(ConfigError, match=r"no model or bundle .brian.; .*: tiny"):
        open_named_model("brian", config)


@pytest.mark.parametrize(("caller", "selected"), [("CT_ROOM1", 1), ("MR_ROOM2", 0)])
def test_a_decision_knows_the_caller(
    study: PhantomSeries, tiny_ct: TinyModel, caller: str, selected: int
) -> None:
    rule = Rule(
        name="room 1",
        when=Conditions(calling_ae_title=("CT_ROOM1",)),
        run=("tiny",),
        send_results_to=(),
    )
    config = config_with(tiny_ct).model_copy(update={"rules": (rule,)})
    [decision] = decide(study.paths[0].parent, config, caller)
    assert len(decision.selections) == selected
