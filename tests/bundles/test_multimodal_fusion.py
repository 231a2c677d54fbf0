"""The fusion bundle: with all modalities from files, with CT alone from DICOM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from conftest import ROOT
from readings import complaints, result_context
from report_content import FINDING, code_of, content_items
from wetread.config import EmbeddedModel
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import load_volume
from wetread.errors import InputError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.description import load_networks
from wetread.infer.embedded import EmbeddedPredictor
from wetread.infer.subjects import volume_from_subject
from wetread.models.evaluation import evaluate
from wetread.models.export import build_models
from wetread.models.original import load_original
from wetread.offline.reading import read_path
from wetread.phantom.recipe import recipe_from
from wetread.phantom.write import write_studies
from wetread.reading import read_series_with
from wetread.results import FindingsResult
from wetread.study import Series

BUNDLE = ROOT / "bundles" / "multimodal_fusion"
REPOSITORY = ROOT / ".cache" / "triton_models"
MODALITIES = ("t1", "t2", "flair", "ct")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def model() -> Iterator[BundleModel]:
    build_models(BUNDLE, REPOSITORY, no_progress)
    config = EmbeddedModel(bundle=BUNDLE)
    with closing(open_model(BUNDLE.name, config, REPOSITORY)) as opened:
        yield opened


def write_heads(
    folder: Path, count: int, form: str, *modalities: str, matrix: int = 48, slices: int = 44
) -> Path:
    """Heads as the bundle was trained on, of another seed than that of the training."""
    recipe = recipe_from(
        anatomy="head",
        modalities=modalities,
        effects="noise=3,bias=3,motion=1",
        side=None,
        seed=77,
        lesion=None,
        matrix=matrix,
        slices=slices,
        is_monochrome1=False,
    )
    write_studies(recipe, count, folder, form, lambda *_: None)
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty subjects, six of each class, as NIfTI."""
    return write_heads(tmp_path_factory.mktemp("heads") / "data", 30, "nifti")


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """The CT of one subject as DICOM."""
    folder = write_heads(tmp_path_factory.mktemp("ct") / "data", 1, "dicom", "CT")
    [subject] = [path for path in folder.iterdir() if path.is_dir()]
    [found] = read_study(find_instances(subject / "CT")).series
    return found


def subject_of(heads: Path, number: int) -> Path:
    return heads / f"head-0077-{number:04}"


def test_onnx_gives_what_torch_gives_whatever_is_absent() -> None:
    """At most 0.001 apart, with each modality absent in turn and with none."""
    build_models(BUNDLE, REPOSITORY, no_progress)
    [spec] = load_networks(BUNDLE).values()
    batch = np.random.default_rng(5).normal(0, 1, (5, *spec.input.shape[1:])).astype(np.float32)
    for number in range(4):
        batch[number, number] = 0
    with torch.no_grad():
        wanted = load_original(BUNDLE, spec).module(torch.from_numpy(batch)).numpy()
    with closing(EmbeddedPredictor(spec.name, REPOSITORY)) as predictor:
        assert np.abs(predictor.predict(batch) - wanted).max() <= 0.001


def test_the_files_of_a_subject_are_read_as_monai_reads_them(
    model: BundleModel, heads: Path
) -> None:
    """Channel by channel, by the gateway's path and by the bundle's own LoadSubjectd."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs/inference.json"))
    folder = subject_of(heads, 3)
    wanted = parser.get_parsed_content("preprocessing")({"image": str(folder)})["image"]
    found = model.prepare(volume_from_subject(folder, model.modalities))
    assert model.modalities == MODALITIES
    assert found.shape == wanted.shape == (4, 24, 32, 28)
    assert float((found - wanted).abs().max()) < 1e-3
    assert all(bool(channel.any()) for channel in found)


def test_a_series_of_ct_is_read_with_the_others_absent(model: BundleModel, ct: Series) -> None:
    prepared = model.prepare(load_volume(ct).volume)
    assert [bool(channel.any()) for channel in prepared] == [False, False, False, True]


def test_the_report_of_a_ct_has_each_finding(
    model: BundleModel, ct: Series, tmp_path: Path
) -> None:
    reading = read_series_with(model, ct, result_context())
    assert isinstance(reading.result, FindingsResult)
    assert [each.kind for each in reading.objects] == ["SR"]
    [report] = reading.objects
    assert complaints(report.file_bytes(), tmp_path) == []
    found = [
        code_of(each.ConceptCodeSequence[0]) for each in content_items(report.dataset, FINDING)
    ]
    assert {each.value for each in found} >= {"367643001", "79654002", "50960005", "18115005"}


def test_a_folder_of_files_gives_probabilities(
    model: BundleModel, heads: Path, tmp_path: Path
) -> None:
    [reading] = read_path(subject_of(heads, 1), model, tmp_path / "out")
    assert sum(reading.probabilities.values()) == pytest.approx(1.0, abs=1e-4)
    [file] = reading.files
    assert file.name == "head-0077-0001_multimodal_fusion.json"
    assert json.loads(file.read_text(encoding="utf-8"))["probabilities"] == reading.probabilities


def test_files_on_two_grids_are_refused(model: BundleModel, heads: Path, tmp_path: Path) -> None:
    coarse = write_heads(tmp_path / "coarse", 1, "nifti", "CT", matrix=32, slices=20)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(subject_of(heads, 0) / "t1.nii.gz", mixed)
    shutil.copy(subject_of(coarse, 0) / "ct.nii.gz", mixed)
    with pytest.raises(InputError, match=r"ct has the shape \(20, 32, 32\), t1 \(44, 48, 48\)"):
        volume_from_subject(mixed, model.modalities)


def test_the_figure_of_the_page_comes_out_again(model: BundleModel, heads: Path) -> None:
    """Of 30 new subjects as many are recognised as the page says, within three standard errors."""
    found = evaluate(model, heads, "all", no_progress).as_dict()
    on_page = 0.945
    assert f"| t1 t2 flair ct | {on_page:.1%} [" in (BUNDLE / "docs/README.md").read_text("utf-8")
    error = (on_page * (1 - on_page) / 30) ** 0.5
    assert found["count"] == 30
    assert found["accuracy"] >= on_page - 3 * error
