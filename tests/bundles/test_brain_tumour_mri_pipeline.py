"""The pipeline bundle, which has no weights here: trained for an epoch on tiny data, then run."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
import torch
from pydicom import dcmread

from conftest import ROOT
from labelled import write_labelled
from phantom import received, write_series
from readings import complaints, result_context
from report_content import content_items
from wetread.bundle_components.classifiers import classifier
from wetread.config import EmbeddedModel
from wetread.dicom import terms
from wetread.errors import InputError
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.models.evaluation import evaluate
from wetread.models.export import build_models
from wetread.models.train import train_bundle
from wetread.reading import read_series_with

BUNDLE = ROOT / "bundles" / "brain_tumour_mri_pipeline"
CLASSES = ("no_tumor", "glioma_tumor", "meningioma_tumor", "pituitary_tumor")
SIZE = 64

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """With a small backbone and small pictures, and a teacher of random weights."""
    copy = tmp_path / "bundles" / BUNDLE.name
    shutil.copytree(BUNDLE / "configs", copy / "configs")
    teacher = tmp_path / "teacher.pt"
    torch.save(classifier("small_cnn", len(CLASSES), SIZE).state_dict(), teacher)
    small = {"backbone": "small_cnn", "image_size": SIZE}
    learned = {
        **small, "pretrained": False, "frozen_blocks": 0, "epochs": 1, "batch_size": 4,
        "teacher_weights": str(teacher), "teacher_layer": "features.2",
    }  # fmt: skip
    for name, changes in (("train.json", learned), ("inference.json", small)):
        path = copy / "configs" / name
        content = json.loads(path.read_text(encoding="utf-8"))
        assert set(changes) <= set(content)
        path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    export = copy / "configs/export.json"
    text = export.read_text(encoding="utf-8")
    assert text.count("224") == 2
    export.write_text(text.replace("224", str(SIZE)), encoding="utf-8")
    return copy


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "data", CLASSES)


def test_it_is_trained_evaluated_and_run_from_dicom_to_a_report(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    training = train_bundle(bundle, data, bundle / "models", lambda *_: None)
    assert (training.metric, training.epochs) == ("val_auc", 1)
    repository = tmp_path / "triton_models"
    [built] = build_models(bundle, repository, no_progress)
    assert built.figures.agreement == 1
    series = received(write_series(tmp_path / "study", shape=(4, 40, 40), modality="MR"))
    with closing(open_model("pipeline", EmbeddedModel(bundle=bundle), repository)) as model:
        reading = read_series_with(model, series, result_context())
        figures = evaluate(model, data, "val", no_progress).as_dict()
    assert len(figures["cases"]) == 12
    assert 0 <= figures["auc"] <= 1
    for each in reading.objects:
        assert complaints(each.file_bytes(), tmp_path) == []
    report = dcmread(BytesIO(reading.objects[0].file_bytes()))
    assert len(content_items(report, terms.PROBABILITY)) == 3


def test_it_says_which_bundle_to_train_first(bundle: Path, data: Path, tmp_path: Path) -> None:
    path = bundle / "configs/train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["teacher_weights"] = str(tmp_path / "none/model.pt")
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="is not there: train the bundle"):
        train_bundle(bundle, data, bundle / "models", lambda *_: None)


def test_the_teacher_is_the_classifier_of_the_same_slices() -> None:
    """Both read the same series, and know the same classes by the same codes."""
    other = BUNDLE.with_name("brain_tumour_mri_classification")
    for name in ("dicom.json",):
        assert (BUNDLE / "configs" / name).read_text() == (other / "configs" / name).read_text()
    train = json.loads((BUNDLE / "configs/train.json").read_text(encoding="utf-8"))
    theirs = json.loads((other / "configs/train.json").read_text(encoding="utf-8"))
    for key in ("classes", "backbone", "image_size", "intensity", "deterministic"):
        assert train[key] == theirs[key]
