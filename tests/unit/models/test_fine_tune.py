"""A candidate from corrections: trained on some, judged on those held out, its bundle untouched."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from annotated import NAME, RAS, true_label, write_bundle
from phantom import Phantom, grid_points
from wetread.corrections.cases import Correction, Review, write_correction, write_holdout
from wetread.errors import ConfigError, InputError
from wetread.models.fine_tune import fine_tune

pytestmark = pytest.mark.timeout(60)
SHAPE = (10, 12, 8)


def no_progress(_epoch: int, _fraction: float, _best: float | None) -> None:
    """Nobody looks."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundles")


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Three cases, of which the last is held out."""
    folder = tmp_path / "annotations"
    for number in range(3):
        affine = np.diag([14.0, 14.0, 14.0, 1.0])
        affine[:3, 3] = (-75.0 - number, -40.0, 20.0)
        values = Phantom().values_at(grid_points(RAS @ affine, SHAPE)) + 1024
        correction = Correction(
            case_id=f"c{number}",
            series_instance_uid=f"1.2.{number}",
            study_instance_uid="1.2",
            annotator="ann",
            annotated_at=datetime(2026, 1, 2, 3, 4, number, tzinfo=UTC),
            from_model=None,
            subgroups={},
            review=Review.CORRECTED,
        )
        image = nibabel.Nifti1Image(values.astype(np.float32), affine)
        label = nibabel.Nifti1Image(true_label(affine, SHAPE), affine)
        write_correction(folder, NAME, correction, image, label)
    write_holdout(folder, NAME, {"c2"})
    return folder


def test_the_candidate_is_a_bundle_with_other_weights(
    bundle: Path, annotations: Path, tmp_path: Path
) -> None:
    """The bundle itself, weights and all, stays as it was."""
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    candidate = tmp_path / "candidate"
    found = fine_tune(bundle, annotations, candidate, no_progress, epochs=2)
    assert (found.epochs, found.metric) == (2, "val_mean_dice")
    assert found.weights == candidate / "models/model.pt"
    for name in ("dicom.json", "inference.json", "metadata.json", "train.json"):
        assert (candidate / "configs" / name).read_bytes() == before[bundle / "configs" / name]
    now = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert now == before


def test_it_goes_on_from_the_bundles_weights(
    bundle: Path, annotations: Path, tmp_path: Path
) -> None:
    """They find the phantom's solids all but exactly; one gentle epoch does not unlearn that."""
    config = json.loads((bundle / "configs/train.json").read_text())
    config["learning_rate"] = 1e-6
    (bundle / "configs/train.json").write_text(json.dumps(config))
    found = fine_tune(bundle, annotations, tmp_path / "candidate", no_progress, epochs=1)
    assert found.best_score == pytest.approx(1.0)
    weights = torch.load(found.weights, weights_only=True)
    original = torch.load(bundle / "models/model.pt", weights_only=True)
    assert torch.allclose(weights["weight"], original["weight"], atol=1e-3)


def test_what_is_held_out_is_not_learnt(bundle: Path, annotations: Path, tmp_path: Path) -> None:
    """A training case that cannot be read ends it; a held-out one is read to be judged only."""
    label = annotations / NAME / "cases/c0/label.nii.gz"
    label.write_bytes(b"broken")
    with pytest.raises(Exception, match=r"c0|label|transform"):
        fine_tune(bundle, annotations, tmp_path / "candidate", no_progress, epochs=1)
    write_holdout(annotations, NAME, {"c0", "c1", "c2"})
    with pytest.raises(InputError, match="0 cases to train on and 3 held out"):
        fine_tune(bundle, annotations, tmp_path / "other", no_progress)


def test_nothing_held_out_is_nothing_to_judge_by(
    bundle: Path, annotations: Path, tmp_path: Path
) -> None:
    write_holdout(annotations, NAME, set())
    with pytest.raises(InputError, match="3 cases to train on and 0 held out"):
        fine_tune(bundle, annotations, tmp_path / "candidate", no_progress)


def test_a_bundle_without_weights_cannot_go_on(
    bundle: Path, annotations: Path, tmp_path: Path
) -> None:
    (bundle / "models/model.pt").unlink()
    with pytest.raises(ConfigError, match=r"no models/model\.pt"):
        fine_tune(bundle, annotations, tmp_path / "candidate", no_progress)
