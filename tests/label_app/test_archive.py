"""Images and labels of a real archive through the annotation server, to the voxel."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from annotated import (
    CODES,
    FIRST,
    NAME,
    SECOND,
    Annotating,
    label_of,
    nifti,
)
from gateway import eventually
from label_app.archived import SHAPE, Archive
from phantom import PhantomSeries, write_series
from readings import BIN, complaints, read_by_dcmqi, reading_of, result_of, segment

pytestmark = pytest.mark.timeout(200)
ONLY_SECOND = [{"name": SECOND, "idx": 2}]
WAITING = "1.2.826.0.1.3680043.8.498.777"


@pytest.fixture(params=["axial", "oblique"])
def series(archive: Archive, request: pytest.FixtureRequest) -> PhantomSeries:
    chosen: PhantomSeries = getattr(archive, request.param)
    return chosen


class TestImages:
    def test_every_modality_is_offered_and_a_new_series_at_once(self, archive):
        """Not CT alone, and no list from two hours ago."""
        before = archive.annotating.get("/datastore/").json()["total"]
        added = [archive.add("head", modality="CT"), archive.add("fresh")]
        assert archive.annotating.get("/datastore/").json()["total"] == before + 2
        every = archive.annotating.get("/datastore/", output="all").json()["objects"]
        for each in added:
            assert every[each.series_instance_uid]["image"]["info"]["Modality"] == each.modality

    def test_the_image_lies_where_the_series_lies(self, archive, series, tmp_path):
        """To a thousandth of a millimetre, also when oblique."""
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        # (slice, row, column) to LPS mm, and (column, row, slice) to RAS mm.
        expected = np.diag([-1, -1, 1, 1]) @ series.affine[:, [2, 1, 0, 3]]
        assert np.allclose(image.affine, expected, atol=1e-3)
        assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), series.values())

    def test_a_gap_is_a_reason_with_numbers(self, archive):
        broken = archive.add("gap", fault="gap")
        answer = archive.annotating.get("/datastore/image", image=broken.series_instance_uid)
        assert answer.status_code == 422
        assert "18.000 mm, between most 9.000 mm" in answer.text

    def test_an_unknown_series_is_not_found(self, archive):
        assert archive.annotating.get("/datastore/image", image="1.2.3").status_code == 404


class TestInference:
    def test_the_mask_is_the_phantoms_on_the_images_own_grid(self, archive, series, tmp_path):
        """Ellipsoid and shell, voxel for voxel, with the geometry of the image."""
        answer = archive.annotating.infer(series.series_instance_uid)
        assert answer.status_code == 200, answer.text
        file = tmp_path / "answer.nrrd"
        file.write_bytes(answer.content)
        mask = SimpleITK.ReadImage(str(file))
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        expected = label_of(series, image)
        assert np.array_equal(SimpleITK.GetArrayFromImage(mask).transpose(2, 1, 0), expected)
        assert np.allclose(mask.GetOrigin(), series.affine[:3, 3], atol=1e-3)
        directions = np.reshape(mask.GetDirection(), (3, 3)) * mask.GetSpacing()
        assert np.allclose(directions, series.affine[:3, [2, 1, 0]], atol=1e-4)

    def test_an_unknown_image_and_an_unknown_model_are_not_found(self, archive):
        assert archive.annotating.infer("1.2.3").status_code == 404
        series = archive.axial.series_instance_uid
        assert archive.annotating.infer(series, "no_such_model").status_code == 404


class TestSaving:
    def test_a_label_comes_back_as_it_was(self, archive, series, tmp_path):
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        answer = archive.annotating.save(series.series_instance_uid, nifti(label, image.affine))
        assert answer.status_code == 200, answer.text
        assert np.array_equal(archive.annotating.label(series.series_instance_uid, tmp_path), label)

    def test_what_is_stored_is_a_conformant_segmentation_of_the_series(
        self, archive, series, tmp_path
    ):
        """With the bundle's codes and numbers, its patient and study, and who drew it."""
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        archive.annotating.save(
            series.series_instance_uid, nifti(label, image.affine), model=NAME
        ).raise_for_status()
        stored = archive.newest_seg(series)
        assert complaints(stored, tmp_path) == []
        told = [
            (each.SegmentNumber, each.SegmentLabel, each.SegmentedPropertyTypeCodeSequence[0])
            for each in stored.SegmentSequence
        ]
        assert [(n, name, code.CodeValue) for n, name, code in told] == [
            (1, FIRST, CODES[FIRST]),
            (2, SECOND, CODES[SECOND]),
        ]
        first = stored.SegmentSequence[0]
        assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "0.4.2"
        assert (stored.StudyInstanceUID, stored.PatientID) == (
            series.study_instance_uid,
            "PHANTOM-1",
        )
        assert str(stored.ContentCreatorName) == "local"
        [(ellipsoid, affine), *_] = read_by_dcmqi(stored, tmp_path)
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        assert ellipsoid.sum() * voxel_ml == pytest.approx(series.mask().sum() * voxel_ml)

    def test_a_label_with_the_second_segment_alone_stays_the_second(
        self, archive, series, tmp_path
    ):
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        label[label == 1] = 0
        archive.annotating.save(
            series.series_instance_uid, nifti(label, image.affine), label_info=ONLY_SECOND
        ).raise_for_status()
        assert set(np.unique(label)) == {0, 2}
        assert np.array_equal(archive.annotating.label(series.series_instance_uid, tmp_path), label)

    def test_names_say_which_value_is_which_segment(self, archive, tmp_path):
        """A viewer that counts otherwise than the bundle is understood."""
        image = archive.annotating.image(archive.axial.series_instance_uid, tmp_path)
        label = label_of(archive.axial, image)
        swapped = np.array([0, 5, 1], np.uint8)[label]
        names = [{"name": SECOND.upper(), "idx": 1}, {"name": FIRST, "idx": 5}]
        archive.annotating.save(
            archive.axial.series_instance_uid, nifti(swapped, image.affine), label_info=names
        ).raise_for_status()
        back = archive.annotating.label(archive.axial.series_instance_uid, tmp_path)
        assert np.array_equal(back, label)

    def test_an_empty_label_is_one(self, archive, series, tmp_path):
        """There is nothing to see: that is an answer."""
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        empty = np.zeros(image.shape, np.uint8)
        answer = archive.annotating.save(series.series_instance_uid, nifti(empty, image.affine))
        assert answer.status_code == 200, answer.text
        assert not archive.annotating.label(series.series_instance_uid, tmp_path).any()
        assert complaints(archive.newest_seg(series), tmp_path) == []

    def test_a_label_on_part_of_the_series_lies_on_that_part(self, archive, series, tmp_path):
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        part = label[:, :, 8:13]
        moved = image.affine.copy()
        moved[:3, 3] += 8 * image.affine[:3, 2]
        archive.annotating.save(series.series_instance_uid, nifti(part, moved)).raise_for_status()
        label[:, :, :8], label[:, :, 13:] = 0, 0
        assert np.array_equal(archive.annotating.label(series.series_instance_uid, tmp_path), label)

    def test_bare_bytes_of_ohif_are_placed_on_the_image(self, archive, series, tmp_path):
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        archive.annotating.save(
            series.series_instance_uid, label.tobytes(order="F"), "label.bin"
        ).raise_for_status()
        assert np.array_equal(archive.annotating.label(series.series_instance_uid, tmp_path), label)

    def test_the_image_counts_as_labelled_once_and_at_once(self, archive, tmp_path):
        """However often it was saved; the next sample is another."""
        series = archive.add("counted")
        before = archive.annotating.get("/datastore/").json()["completed"]
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        for _ in range(2):
            archive.annotating.save(
                series.series_instance_uid, nifti(label_of(series, image), image.affine)
            ).raise_for_status()
        assert archive.annotating.get("/datastore/").json()["completed"] == before + 1

    def test_training_gets_pairs_on_one_grid(self, archive, series, tmp_path):
        """A Segmentation holds only the slices with something on them; the pair holds all."""
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        archive.annotating.save(
            series.series_instance_uid, nifti(label, image.affine)
        ).raise_for_status()
        pairs = archive.annotating.get("/datastore/", output="train").json()
        [pair] = [each for each in pairs if series.series_instance_uid in each["image"]]
        first, second = (SimpleITK.ReadImage(pair[key]) for key in ("image", "label"))
        assert first.GetSize() == second.GetSize()
        assert np.allclose(first.GetOrigin(), second.GetOrigin(), atol=1e-3)
        values = SimpleITK.GetArrayFromImage(second).transpose(2, 1, 0)
        assert np.array_equal(values, label)


class TestRefusing:
    @pytest.mark.parametrize(
        ("shift_mm", "status", "said"),
        [(1.0, 409, "voxels beside the image's grid"), (360.0, 409, "lie outside the image")],
    )
    def test_a_label_that_lies_beside_the_image(self, archive, tmp_path, shift_mm, status, said):
        image = archive.annotating.image(archive.axial.series_instance_uid, tmp_path)
        moved = image.affine.copy()
        moved[2, 3] += shift_mm
        content = nifti(label_of(archive.axial, image), moved)
        answer = archive.annotating.save(archive.axial.series_instance_uid, content)
        assert answer.status_code == status
        assert said in answer.text

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ([{"name": FIRST, "idx": 1}], "the value 2, which names no segment"),
            ([{"name": "Spleen", "idx": 1}], "no bundle has the segments Spleen"),
            ([{"name": FIRST}], f"label_info of {FIRST} has no idx"),
        ],
    )
    def test_a_value_without_a_name(self, archive, tmp_path, names, said):
        image = archive.annotating.image(archive.axial.series_instance_uid, tmp_path)
        content = nifti(label_of(archive.axial, image), image.affine)
        answer = archive.annotating.save(
            archive.axial.series_instance_uid, content, label_info=names
        )
        assert answer.status_code == 422
        assert said in answer.json()["error"]

    @pytest.mark.parametrize(
        ("content", "name", "said"),
        [
            (b"not a file", "label.nii.gz", "cannot be read"),
            (b"\0" * 7, "label.bin", "the label has 7 bytes"),
            (b"{}", "label.json", "a label in .json"),
        ],
    )
    def test_what_is_no_label(self, archive, content, name, said):
        answer = archive.annotating.save(archive.axial.series_instance_uid, content, name)
        assert answer.status_code == 422
        assert said in answer.json()["error"]


class TestOtherTools:
    def test_a_cropped_and_renumbered_segmentation_is_read_by_its_names(self, archive, tmp_path):
        """dcmqi numbers the segments that are there, and leaves empty slices out."""
        series = archive.add("by dcmqi")
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        label[label == 1] = 0
        label[:, :, :9] = 0
        archive.store(by_dcmqi(label, image.affine, series, tmp_path))
        stored = archive.newest_seg(series)
        assert [each.SegmentNumber for each in stored.SegmentSequence] == [1]
        assert int(stored.NumberOfFrames) < SHAPE[0]
        assert np.array_equal(archive.annotating.label(series.series_instance_uid, tmp_path), label)

    def test_the_gateways_own_segmentation_is_a_proposal(self, archive, tmp_path):
        """It does not count as drawn by a reader."""
        series = archive.add("proposed")
        labelmap = series.mask()
        result = result_of(labelmap, (segment(1, 1, FIRST),))
        archive.store(reading_of(series, result).dataset("SEG"))
        final = archive.annotating.get(
            "/datastore/label", label=series.series_instance_uid, tag="final"
        )
        assert final.status_code == 404
        original = archive.annotating.label(series.series_instance_uid, tmp_path, "original")
        assert np.array_equal(original.transpose(2, 1, 0), labelmap)

    def test_of_two_the_newer_is_the_label(self, archive, tmp_path):
        series = archive.add("twice")
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        label = label_of(series, image)
        archive.annotating.save(
            series.series_instance_uid, nifti(label, image.affine)
        ).raise_for_status()
        later = archive.newest_seg(series)
        later.SOPInstanceUID = later.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        later.SeriesInstanceUID = generate_uid()
        later.ContentDate = "20990101"
        later.PixelData = bytes(len(later.PixelData))
        archive.store(later)
        assert not archive.annotating.label(series.series_instance_uid, tmp_path).any()

    def test_one_on_another_grid_is_refused_by_name(self, archive, tmp_path):
        series = archive.add("shifted")
        image = archive.annotating.image(series.series_instance_uid, tmp_path)
        archive.annotating.save(
            series.series_instance_uid, nifti(label_of(series, image), image.affine)
        ).raise_for_status()
        moved = archive.newest_seg(series)
        moved.SOPInstanceUID = moved.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        moved.SeriesInstanceUID = generate_uid()
        moved.ContentDate = "20990101"
        for each in moved.PerFrameFunctionalGroupsSequence:
            each.PlanePositionSequence[0].ImagePositionPatient[2] += 2.0
        archive.store(moved)
        answer = archive.annotating.get(
            "/datastore/label", label=series.series_instance_uid, tag="final"
        )
        assert answer.status_code == 409
        assert moved.SOPInstanceUID in answer.json()["error"]


class TestTraining:
    def test_an_epoch_on_labels_from_the_archive(self, archive, tmp_path):
        """Held-out images are not trained on; the new weights are used at once."""
        chosen = labelled(archive, tmp_path)
        body = {"max_epochs": 2, "pretrained": False, "leave_out_broken": True}
        ended = train(archive.annotating, body)
        assert ended["status"] == "DONE", ended["details"]
        said = "\n".join(ended["details"])
        assert "epoch 2 of 2: loss" in said
        assert "0 s left" in said
        record = archive.annotating.get("/info/").json()["train_stats"][NAME]
        assert set(record["trained_on"]) | set(record["held_out"]) >= set(chosen)
        for image, held_out in chosen.items():
            assert (image in record["held_out"]) == held_out
        assert record["new_weights_in_use"]
        source = archive.annotating.bundle / "models/model.pt"
        used = archive.annotating.copy / "models/model.pt"
        assert used.read_bytes() != source.read_bytes()


def train(annotating: Annotating, body: Mapping[str, Any]) -> dict[str, Any]:
    annotating.post(f"/train/{NAME}", body).raise_for_status()
    return eventually(lambda: ended_training(annotating), 90)


def labelled(archive: Archive, folder: Path) -> Mapping[str, bool]:
    """Three series with true labels, some of them held out."""
    chosen: dict[str, bool] = {}
    number = 0
    while len(chosen) < 3 or len(set(chosen.values())) < 2:
        series = write_series(folder / f"{number}", seed=f"t{number}", modality="MR", shape=SHAPE)
        number += 1
        uid = series.series_instance_uid
        held_out = hashlib.sha256(uid.encode()).digest()[0] / 256 < 0.2
        if len(chosen) == 2 and held_out in chosen.values():
            continue
        for path in series.paths:
            archive.orthanc.upload(path)
        image = archive.annotating.image(uid, folder)
        content = nifti(label_of(series, image), image.affine)
        archive.annotating.save(uid, content).raise_for_status()
        chosen[uid] = held_out
    return chosen


def ended_training(annotating: Annotating) -> dict[str, Any] | None:
    if annotating.get("/train/", check_if_running=True).status_code == 200:
        return None
    answer: dict[str, Any] = annotating.get("/train/").json()
    return answer if answer.get("end_ts") else None


def by_dcmqi(
    label: NDArray[np.uint8], affine: NDArray[Any], series: PhantomSeries, folder: Path
) -> Dataset:
    """What another program writes of the same label."""
    (folder / "label.nii.gz").write_bytes(nifti(label, affine))
    code = {"CodingSchemeDesignator": "SCT", "CodeMeaning": SECOND}
    attribute = {
        "labelID": 2,
        "SegmentLabel": SECOND,
        "SegmentDescription": SECOND,
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": {**code, "CodeValue": "91723000"},
        "SegmentedPropertyTypeCodeSequence": {**code, "CodeValue": CODES[SECOND]},
        "recommendedDisplayRGBValue": [10, 200, 30],
    }
    described = {
        "ContentCreatorName": "Other",
        "SeriesDescription": "by another tool",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": [[attribute]],
        "ContentLabel": "SEGMENTATION",
        "ContentDescription": "x",
        "ClinicalTrialSeriesID": "1",
        "ClinicalTrialTimePointID": "1",
        "BodyPartExamined": "",
    }
    (folder / "meta.json").write_text(json.dumps(described), encoding="utf-8")
    command = [
        *(BIN / "itkimage2segimage", "--inputImageList", folder / "label.nii.gz"),
        *("--inputDICOMDirectory", series.paths[0].parent, "--outputDICOM", folder / "seg.dcm"),
        *("--inputMetadata", folder / "meta.json", "--skip"),
    ]
    done = subprocess.run([str(each) for each in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return dcmread(folder / "seg.dcm")
