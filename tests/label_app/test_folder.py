"""A folder of images through the annotation server: labels, clicks, and what to draw next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.bundle import ConfigParser

from annotated import (
    FIRST,
    LABEL_INFO,
    NAME,
    RAS,
    SECOND,
    Annotating,
    annotating,
    nifti,
    true_label,
    voxels,
)
from conftest import ROOT
from gateway import eventually
from phantom import Phantom, grid_points

pytestmark = pytest.mark.timeout(200)
HIPPOCAMPUS = "hippocampus_mr_segmentation"
CLICKS = "hippocampus_mr_clicks"
SHAPE = (16, 18, 14)
IMAGES = ("a", "b", "c", "d")
# Its ellipsoid stands out, as what a reader would grow from strokes.
BRIGHT = "d"


@dataclass(frozen=True)
class Folder:
    """The server, and the folder that it reads."""

    annotating: Annotating
    images: Path

    def affine(self, image: str) -> np.ndarray:
        return np.asarray(nibabel.load(self.images / f"{image}.nii.gz").affine)

    def choose(self, strategy: str, **body: object) -> dict[str, object]:
        answer = self.annotating.post(f"/activelearning/{strategy}", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found


def write_image(folder: Path, name: str, shift_mm: float) -> None:
    # A part of the ellipsoid and a part of the box: small enough for a network at 1 mm.
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-30.0 + shift_mm, 13.0, 44.0)
    values = Phantom().values_at(grid_points(RAS @ affine, SHAPE)) + 1024
    if name == BRIGHT:
        values[values == 1144] = 2500
    image = nibabel.Nifti1Image(values.astype(np.float32), affine)
    nibabel.save(image, folder / f"{name}.nii.gz")


def write_small(bundle: Path) -> None:
    """The hippocampus bundle with two networks of few filters that have learnt nothing."""
    shutil.copytree(ROOT / "bundles" / HIPPOCAMPUS, bundle)
    path = bundle / "configs/inference.json"
    inference = json.loads(path.read_text(encoding="utf-8"))
    for network in inference["network_def"]["networks"]:
        network |= {"init_filters": 4, "blocks_down": [1, 1], "dsdepth": 1}
    path.write_text(json.dumps(inference), encoding="utf-8")
    torch.manual_seed(0)
    network = ConfigParser(inference).get_parsed_content("network_def")
    torch.save(network.state_dict(), bundle / "models/model.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    place = tmp_path_factory.mktemp("folder")
    images = place / "images"
    images.mkdir()
    for number, name in enumerate(IMAGES):
        write_image(images, name, 2.0 * number)
    write_small(place / "bundles" / HIPPOCAMPUS)
    shutil.copytree(ROOT / "bundles" / CLICKS, place / "bundles" / CLICKS)
    with annotating(place, str(images)) as running:
        yield Folder(running, images)


class TestClicks:
    def mask(self, folder: Folder, tmp_path: Path, **clicks: object) -> np.ndarray:
        answer = folder.annotating.infer("a", CLICKS, **clicks)
        assert answer.status_code == 200, answer.text
        (tmp_path / "mask.nrrd").write_bytes(answer.content)
        mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mask.nrrd")))
        return mask.transpose(2, 1, 0)

    def test_clicks_change_the_mask(self, folder, tmp_path):
        """Every fifth voxel that the network labels by itself is clicked away as background."""
        before = self.mask(folder, tmp_path)
        mistaken = np.argwhere(before > 0)[::5].tolist()
        assert len(mistaken) >= 5
        after = self.mask(folder, tmp_path, background=mistaken)
        assert (after > 0).sum() < (before > 0).sum()

    @pytest.mark.parametrize(
        ("clicks", "said"),
        [
            ([[16, 0, 0]], "outside the image of [16, 18, 14] voxels"),
            ([[1, 2]], "must be lists of three numbers"),
        ],
    )
    def test_what_is_no_click_in_the_image_is_told(self, folder, clicks, said):
        answer = folder.annotating.infer("a", CLICKS, background=clicks)
        assert answer.status_code == 400
        assert said in answer.json()["error"]


class TestLabels:
    def test_an_image_of_any_modality_is_read_and_segmented(self, folder, tmp_path):
        """NIfTI says nothing of CT or MR; the mask is the phantom's."""
        answer = folder.annotating.infer("a")
        assert answer.status_code == 200, answer.text
        (tmp_path / "mask.nrrd").write_bytes(answer.content)
        mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mask.nrrd")))
        assert np.array_equal(mask.transpose(2, 1, 0), true_label(folder.affine("a"), SHAPE))

    @pytest.mark.parametrize("form", [".nii.gz", ".nrrd", ".bin"])
    def test_a_label_in_any_form_is_kept_as_nifti(self, folder, tmp_path, form):
        """Also what OHIF sends as bare bytes."""
        label = true_label(folder.affine("b"), SHAPE)
        content = nifti(label, folder.affine("b"))
        if form == ".bin":
            content = label.tobytes(order="F")
        if form == ".nrrd":
            (tmp_path / "x.nii.gz").write_bytes(content)
            image = SimpleITK.ReadImage(str(tmp_path / "x.nii.gz"))
            SimpleITK.WriteImage(image, str(tmp_path / "x.nrrd"))
            content = (tmp_path / "x.nrrd").read_bytes()
        answer = folder.annotating.save("b", content, f"label{form}")
        assert answer.status_code == 200, answer.text
        stored = folder.images / "labels/final/b.nii.gz"
        assert np.array_equal(voxels(nibabel.load(stored)), label)
        assert np.array_equal(folder.annotating.label("b", tmp_path), label)

    def test_a_label_says_who_drew_it_and_what_it_holds(self, folder):
        label = true_label(folder.affine("b"), SHAPE)
        folder.annotating.save(
            "b", nifti(label, folder.affine("b")), model=NAME, seconds_spent=42.5
        ).raise_for_status()
        info = folder.annotating.get("/datastore/label/info", label="b", tag="final").json()
        assert (info["annotator"], info["bundle"]) == ("local", NAME)
        assert info["from_model"] == {"name": NAME, "version": "0.4.2"}
        assert info["seconds_spent"] == 42.5
        counts = {FIRST: int((label == 1).sum()), SECOND: int((label == 2).sum())}
        assert info["voxels"] == counts

    def test_a_model_with_the_same_segments_may_learn_from_it_and_no_other(self, folder):
        """A label of the tiny bundle teaches the hippocampus nothing."""
        label = true_label(folder.affine("b"), SHAPE)
        folder.annotating.save("b", nifti(label, folder.affine("b"))).raise_for_status()
        folder.annotating.post(f"/train/{HIPPOCAMPUS}", {"max_epochs": 1}).raise_for_status()

        def ended() -> str | None:
            answer = folder.annotating.get("/train/")
            return answer.text if answer.status_code == 500 else None

        assert "0 labelled images to train on" in eventually(ended, 90)

    def test_scribbles_grow_to_a_mask(self, folder, tmp_path):
        """A stroke inside the ellipsoid and one beside it; the rest is the image's doing."""
        truth = true_label(folder.affine(BRIGHT), SHAPE)
        strokes = np.zeros(SHAPE, np.uint8)
        inside = np.argwhere(truth == 1)
        strokes[tuple(inside[len(inside) // 3 : len(inside) // 2].T)] = 3
        outside = np.argwhere(truth != 1)
        strokes[tuple(outside[:: len(outside) // 200].T)] = 2
        answer = folder.annotating.client.post(
            "/infer/scribbles_histogram",
            params={"image": BRIGHT, "output": "image"},
            data={"params": json.dumps({"result_extension": ".nii.gz", "result_dtype": "uint8"})},
            files={"label": ("strokes.nii.gz", nifti(strokes, folder.affine(BRIGHT)))},
        )
        assert answer.status_code == 200, answer.text
        (tmp_path / "grown.nii.gz").write_bytes(answer.content)
        grown = voxels(nibabel.load(tmp_path / "grown.nii.gz")) > 0
        assert grown[truth == 1].mean() > 0.9
        assert grown[truth != 1].mean() < 0.1
        assert grown.shape == SHAPE


class TestNextImage:
    @pytest.mark.parametrize(
        ("strategy", "said"),
        [
            ("random", "drawn from"),
            ("first", "in the order of names"),
            ("epistemic_ensemble", "agree with a Dice of"),
            ("epistemic_flips", "agree with a Dice of"),
            ("epistemic_dropout", "agree with a Dice of"),
            ("representative", "features lie"),
            ("hybrid", "less sure than"),
        ],
    )
    def test_each_strategy_chooses_an_unlabelled_image_and_says_why(self, folder, strategy, said):
        label = true_label(folder.affine("b"), SHAPE)
        folder.annotating.save("b", nifti(label, folder.affine("b"))).raise_for_status()
        body = {} if strategy in ("random", "first") else {"model": HIPPOCAMPUS}
        found = folder.choose(strategy, **body)
        assert found["id"] in {"a", "c", "d"}
        assert said in str(found["reason"])
        assert isinstance(found["score"], float)

    def test_a_network_that_a_strategy_cannot_ask_is_named(self, folder):
        """One convolution has no encoder whose features could be compared."""
        answer = folder.annotating.post("/activelearning/representative", {"model": NAME})
        assert answer.status_code == 400
        assert "no part called encoder" in answer.json()["error"]

    def test_nothing_is_left_once_all_are_labelled(self, folder):
        for image in IMAGES:
            content = nifti(true_label(folder.affine(image), SHAPE), folder.affine(image))
            folder.annotating.save(image, content, label_info=LABEL_INFO).raise_for_status()
        assert folder.choose("first") == {}
        for image in IMAGES[2:]:
            folder.annotating.client.delete(
                "/datastore/label", params={"id": image, "tag": "final"}
            ).raise_for_status()
        assert folder.choose("first")["id"] == "c"
