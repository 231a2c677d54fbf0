"""An absent modality has no say; deep supervision is for training; every channel is its file's."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from subjects import AFFINE, SHAPE, write_subject
from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.fusion import (
    DeeplySupervisedLoss,
    EarlyFusionClassifier,
    FusionClassifier,
    LesionHead,
    fuse,
    place_labels,
)
from wetread.bundle_components.subjects import (
    LoadLesiond,
    LoadSubjectd,
    NormalizeModalitiesd,
    PlaceModalityd,
    RandDropModalitiesd,
)
from wetread.bundle_components.transforms import NoContrastError

MODALITIES = ("t1", "t2", "flair", "ct")


def small_fusion(seed: int = 0) -> FusionClassifier:
    torch.manual_seed(seed)
    return FusionClassifier(4, 5, (2, 4, 6))


def image(seed: int = 1, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 4, 16, 16, 16, generator=torch.Generator().manual_seed(seed))


def lesions(*labels: int) -> torch.Tensor:
    """For each number a map with a lesion of it, of one place."""
    maps = torch.zeros(len(labels), 1, 16, 16, 16)
    maps[:, :, 4:8, 8:12, 4:8] = torch.tensor(labels, dtype=torch.float32).reshape(-1, 1, 1, 1, 1)
    return maps


def changed_encoder(network: FusionClassifier, number: int) -> None:
    """Other weights for the encoder of one modality."""
    with torch.no_grad():
        for parameter in network.encoders[number].parameters():
            parameter.add_(1.0)


def test_an_absent_modality_has_no_influence() -> None:
    """Whatever its encoder has learned, the answer without the modality is the same."""
    network = small_fusion().eval()
    given = image()
    given[:, 2] = 0
    with torch.no_grad():
        before = network(given)
        changed_encoder(network, 2)
        after = network(given)
        changed_encoder(network, 1)
        other = network(given)
    assert torch.equal(before, after)
    assert not torch.allclose(before, other)


def test_absence_is_of_each_case_by_itself() -> None:
    network = small_fusion().eval()
    given = image()
    given[0, 2] = 0
    with torch.no_grad():
        together = network(given)
        alone = torch.cat([network(each[None]) for each in given])
    assert torch.allclose(together, alone, atol=1e-5)


def test_fusion_does_not_know_the_order_of_modalities() -> None:
    """Modalities and their encoders in another order give the same answer."""
    network = small_fusion().eval()
    order = [2, 0, 3, 1]
    with torch.no_grad():
        before = network(image())
        network.encoders = torch.nn.ModuleList(network.encoders[place] for place in order)
        after = network(image()[:, order])
    assert torch.allclose(before, after, atol=1e-5)


def test_fusion_is_the_mean_and_the_maximum_of_what_is_there() -> None:
    features = [torch.full((1, 1, 1, 1, 1), value) for value in (1.0, 2.0, 9.0)]
    present = torch.tensor([[1.0, 1.0, 0.0]])
    assert fuse(features, present).flatten().tolist() == [1.5, 2.0]
    assert fuse(features, torch.zeros(1, 3)).flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("network", "answers"),
    # Two depths of the trunk and four encoders; two depths of the one encoder. 16 voxels a side are
    # 4 × 4 × 4 places.
    [(small_fusion(), 6), (EarlyFusionClassifier(4, 5, (2, 4, 6)), 2)],
    ids=["fusion", "early fusion"],
)
def test_deep_supervision_is_for_training_only(network: torch.nn.Module, answers: int) -> None:
    assert network.train()(image()).shape == (3, answers, 5, 1 + 64)
    assert network.eval()(image()).shape == (3, 5)


def test_the_first_answer_in_training_is_the_one_that_is_served() -> None:
    network = small_fusion()
    with torch.no_grad():
        trained = network.train()(image())[:, 0, :, 0]
        served = network.eval()(image())
    assert torch.allclose(trained, served, atol=1e-6)


def test_nothing_is_learned_from_an_absent_modality() -> None:
    network = small_fusion().train()
    given = image()
    given[:, 3] = 0
    DeeplySupervisedLoss()(network(given), lesions(0, 1, 2)).backward()
    gradients = [
        max(float(each.grad.abs().max()) for each in encoder.parameters())
        for encoder in network.encoders
    ]
    assert min(gradients[:3]) > 0
    assert gradients[3] == 0


def test_the_loss_adds_up() -> None:
    """Even odds of two classes cost ln 2: whole image and places, and half of that for the others.

    A place without a lesion is half of the places' share: so a healthy image costs 1.5 × ln 2.
    """
    loss = DeeplySupervisedLoss(weight=0.5, label_smoothing=0.0)
    even = torch.zeros(1, 3, 2, 1 + 64)
    assert float(loss(even, lesions(1))) == pytest.approx(1.5 * 2 * np.log(2))
    assert float(loss(even[:, :1], lesions(1))) == pytest.approx(2 * np.log(2))
    assert float(loss(even[:, :1], lesions(0))) == pytest.approx(1.5 * np.log(2))


def test_a_place_has_the_label_of_the_lesion_that_fills_it() -> None:
    """One place is wholly in it, one by half, one by a quarter, which does not count."""
    lesion = torch.zeros(1, 1, 16, 4, 4)
    lesion[:, :, :4] = 3
    lesion[:, :, 4:6] = 3
    lesion[:, :, 8:9] = 3
    assert place_labels(lesion).tolist() == [[3, 3, -100, 0]]


def test_the_whole_image_has_what_one_place_has() -> None:
    """One place that speaks for class 2 by 3, against no lesion, gives the logits 0, 0, 3."""
    head = LesionHead(3, 3)
    with torch.no_grad():
        head.places.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1, 1))
        head.places.bias.zero_()
        features = torch.zeros(1, 3, 2, 2, 2)
        features[0, 2, 1, 0, 1] = 3.0
        found = head(features)
    assert found.shape == (1, 3, 1 + 8)
    assert found[0, :, 0].tolist() == [0.0, 0.0, 3.0]


def test_every_file_goes_to_its_channel_and_the_others_are_absent(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t2": 20.0, "ct": 40.0})
    found = LoadSubjectd("image", MODALITIES)({"image": str(tmp_path)})["image"]
    assert found.shape == (4, *SHAPE)
    assert [float(channel.amax()) for channel in found] == [0.0, 20.0, 0.0, 40.0]
    assert np.allclose(found.affine, AFFINE)


def test_files_of_several_orientations_meet_in_one(tmp_path: Path) -> None:
    """The mark lies at the same voxel whatever the axes of the file."""
    write_subject(tmp_path, {"t1": 10.0, "t2": 20.0})
    path = tmp_path / "t2.nii.gz"
    turned = nibabel.orientations.axcodes2ornt(tuple("SPL"))
    nibabel.save(nibabel.load(path).as_reoriented(turned), path)
    found = LoadSubjectd("image", MODALITIES)({"image": str(tmp_path)})["image"]
    marks = [np.argwhere(np.asarray(found[channel]) > 5).tolist() for channel in (0, 1)]
    assert marks[0] == marks[1] == [[2, 3, 4]]


def test_a_folder_without_a_modality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match=r"no file of t1, t2, flair, ct, such as t1\.nii\.gz"):
        LoadSubjectd("image", MODALITIES)({"image": str(tmp_path)})


def test_the_lesion_is_a_map_of_its_class(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t1": 10.0})
    load = LoadLesiond("lesion", "labels", 10)
    found = load({"image": str(tmp_path), "label": 3})["lesion"]
    assert found.shape == (1, *SHAPE)
    assert np.argwhere(np.asarray(found)).tolist() == [[0, 2, 3, 4]]
    assert float(found.amax()) == 3.0
    assert not load({"image": str(tmp_path), "label": 0})["lesion"].any()


def test_a_lesion_that_is_not_drawn_is_refused(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t1": 10.0})
    with pytest.raises(DataFolderError, match="no voxel has the value 11 of the lesion"):
        LoadLesiond("lesion", "labels", 11)({"image": str(tmp_path), "label": 3})
    with pytest.raises(DataFolderError, match="no file of drawn"):
        LoadLesiond("lesion", "drawn", 10)({"image": str(tmp_path), "label": 3})


def test_files_on_two_grids_are_refused(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t1": 10.0})
    write_subject(tmp_path, {"ct": 10.0}, shift_mm=2.0)
    with pytest.raises(DataFolderError, match="differ by up to 2: resample all to one grid"):
        LoadSubjectd("image", MODALITIES)({"image": str(tmp_path)})


def test_one_channel_is_put_in_its_place() -> None:
    place = PlaceModalityd("image", channel=3, channels=4)
    one = place({"image": MetaTensor(torch.ones(1, 2, 2, 2))})["image"]
    assert [float(channel.sum()) for channel in one] == [0, 0, 0, 8]
    several = image(batch=1)[0]
    assert torch.equal(place({"image": several})["image"], several)
    with pytest.raises(ValueError, match="2 channels, either 1 or 4"):
        place({"image": torch.ones(2, 2, 2, 2)})


def test_each_modality_is_normalised_and_an_absent_one_stays_0() -> None:
    """HU by the window; MR by the mean and deviation of what is brighter than the mean."""
    magnetic = torch.tensor([0.0, 0.0, 0.0, 0.0, 40.0, 60.0]).reshape(1, 6, 1, 1)
    houndsfield = torch.tensor([-1000.0, -40.0, 30.0, 65.0, 100.0, 900.0]).reshape(1, 6, 1, 1)
    given = torch.cat([magnetic, torch.zeros_like(magnetic), houndsfield])
    normalize = NormalizeModalitiesd("image", [None, None, [-40, 100]])
    found = normalize({"image": given})["image"]
    assert found[0].flatten().tolist() == [-5.0, -5.0, -5.0, -5.0, -1.0, 1.0]
    assert not found[1].any()
    assert found[2].flatten().tolist() == [-1.0, -1.0, 0.0, 0.5, 1.0, 1.0]


def test_an_image_without_contrast_is_refused() -> None:
    normalize = NormalizeModalitiesd("image", [None, None])
    with pytest.raises(NoContrastError, match="no modality is there"):
        normalize({"image": torch.zeros(2, 2, 2, 2)})
    with pytest.raises(NoContrastError, match="the value 3 everywhere"):
        normalize({"image": torch.full((2, 2, 2, 2), 3.0)})


def dropped(prob: float, given: torch.Tensor, times: int = 200) -> np.ndarray:
    """(time, modality): what is still there."""
    drop = RandDropModalitiesd("image", prob)
    drop.set_random_state(seed=3)
    found = [drop({"image": given.clone()})["image"] for _ in range(times)]
    return np.array([[bool(channel.any()) for channel in each] for each in found])


def test_some_modality_always_stays() -> None:
    there = dropped(1.0, image(batch=1)[0])
    assert (there.sum(1) == 1).all()
    assert there.any(0).all()


def test_modalities_are_dropped_as_often_as_asked_for() -> None:
    """At 0.3: 0.7 stay, and the last one that would go; 200 draws of 4 have an SD of 0.016."""
    assert dropped(0.3, image(batch=1)[0]).mean() == pytest.approx(0.7 + 0.3**4 / 4, abs=0.05)
    assert dropped(0.0, image(batch=1)[0]).all()


def test_what_was_absent_does_not_come_back() -> None:
    given = image(batch=1)[0]
    given[1:] = 0
    there = dropped(0.9, given)
    assert there[:, 0].all()
    assert not there[:, 1:].any()
