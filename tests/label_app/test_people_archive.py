"""Several people on the series of a real archive, each label a Segmentation of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from annotated import FIRST, NAME, label_of, nifti
from label_app.archived import Archive
from phantom import PhantomSeries
from readings import complaints, reading_of, result_context, result_of, segment

pytestmark = pytest.mark.timeout(200)


@dataclass(frozen=True)
class Case:
    """One series, with the label that the phantom's formula gives."""

    archive: Archive
    series: PhantomSeries
    affine: NDArray[np.float64]
    truth: NDArray[np.uint8]

    @property
    def uid(self) -> str:
        return self.series.series_instance_uid

    def save(self, label: NDArray[np.uint8], **params: Any) -> None:
        content = nifti(label, self.affine)
        self.archive.annotating.save(self.uid, content, **params).raise_for_status()

    def store_by(self, who: str, label: NDArray[np.uint8]) -> None:
        """As another tool would: into the archive itself, a millisecond later."""
        self.save(label)
        mine = self.archive.newest_seg(self.series)
        mine.SOPInstanceUID = mine.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        mine.SeriesInstanceUID = generate_uid()
        mine.ContentCreatorName = who
        mine.ContentTime = f"{float(mine.ContentTime) + 0.001:013.6f}"
        self.archive.store(mine)

    def seen(self) -> dict[str, Any]:
        answer = self.archive.annotating.get("/work/image", image=self.uid)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def by(self, who: str) -> dict[str, Any]:
        found: dict[str, Any] = next(e for e in self.seen()["labels"] if e["annotator"] == who)
        return found

    def post(self, action: str, **fields: str) -> Any:
        client = self.archive.annotating.client
        answer = client.post(f"/work/{action}", data={"image": self.uid, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def trained_on(self, folder: Path) -> NDArray[np.uint8]:
        """Its label, which a training gets."""
        return self.archive.annotating.label(self.uid, folder)


@pytest.fixture
def case(archive: Archive, tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    series = archive.add(request.node.name)
    image = archive.annotating.image(series.series_instance_uid, tmp_path)
    return Case(archive, series, np.asarray(image.affine), label_of(series, image))


def without_a_slice(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first slice of the first segment taken away."""
    drawn = label.copy()
    first = np.flatnonzero((label == 1).any(axis=(0, 1)))[0]
    part = drawn[:, :, first]
    part[part == 1] = 0
    return drawn


def test_two_readers_agree_as_far_as_arithmetic_says(case: Case) -> None:
    smaller = without_a_slice(case.truth)
    case.store_by("BOB", case.truth)
    case.save(smaller)
    [agreement] = case.seen()["agreement"]
    assert agreement["readers"] == ["BOB", "local"]
    figures = agreement["pairs"][0]["segments"][FIRST]
    sizes = int((case.truth == 1).sum()), int((smaller == 1).sum())
    assert figures["dice"] == pytest.approx(2 * sizes[1] / sum(sizes), abs=1e-4)
    assert 0 < figures["hd95_mm"] <= 9.0
    voxel_ml = abs(np.linalg.det(case.affine[:3, :3])) / 1000
    assert agreement["volumes_ml"]["BOB"][FIRST] == pytest.approx(sizes[0] * voxel_ml, abs=1e-3)


def test_the_approved_segmentation_is_trained_on(case: Case, tmp_path: Path) -> None:
    """Not the newest one; and what is returned not at all."""
    case.store_by("BOB", case.truth)
    case.save(without_a_slice(case.truth))
    assert np.array_equal(case.trained_on(tmp_path), without_a_slice(case.truth))
    approved = case.by("BOB")["id"]
    case.post("review", label=approved, state="approved")
    assert np.array_equal(case.trained_on(tmp_path), case.truth)
    case.post("review", label=approved, state="returned", reason="of the wrong patient")
    assert np.array_equal(case.trained_on(tmp_path), without_a_slice(case.truth))


def test_a_consensus_is_a_segmentation_that_names_its_readers(case: Case, tmp_path: Path) -> None:
    """It comes back voxel by voxel, and nothing of the readers' own is gone."""
    case.store_by("BOB", case.truth)
    case.store_by("CEM", case.truth)
    case.save(without_a_slice(case.truth))
    made = case.post("consensus")
    assert made["readers"] == ["BOB", "CEM", "local"]
    performance = made["performance"][FIRST]
    assert performance["BOB"]["sensitivity"] == pytest.approx(1.0, abs=1e-3)
    share = (without_a_slice(case.truth) == 1).sum() / (case.truth == 1).sum()
    assert performance["local"]["sensitivity"] == pytest.approx(share, abs=1e-3)
    assert np.array_equal(case.archive.annotating.label(case.uid, tmp_path), case.truth)
    stored = case.archive.newest_seg(case.series)
    assert complaints(stored, tmp_path) == []
    assert (stored.ContentLabel, stored.ContentDescription) == (
        "CONSENSUS",
        "consensus of BOB, CEM, local",
    )
    seen = case.seen()
    assert seen["is_consensus"]
    assert {"BOB", "CEM", "local"} == set(seen["readers"])


def test_the_edit_distance_is_from_what_the_gateway_proposed(case: Case) -> None:
    """Of a slice that a reader took away, in mL."""
    result = result_of(case.series.mask(), (segment(1, 1, FIRST),))
    reading = reading_of(case.series, result, result_context("1.2.3.5"))
    case.archive.store(reading.dataset("SEG"))
    assert case.seen()["state"] == "proposed"
    proposed = np.asarray(case.series.mask()).transpose(2, 1, 0).astype(np.uint8)
    case.save(without_a_slice(proposed), model=NAME, seconds_spent=20)
    label = case.by("local")
    edits = label["edit_distance"]
    assert edits["proposal"]["came_by"] == "original"
    taken = int(proposed.sum()) - int(without_a_slice(proposed).sum())
    voxel_ml = abs(np.linalg.det(case.affine[:3, :3])) / 1000
    assert edits["segments"][FIRST]["changed_ml"] == pytest.approx(taken * voxel_ml, abs=1e-3)
    assert (label["state"], label["seconds_spent"]) == ("corrected", 20)


def test_the_page_names_the_series_and_leads_to_it(case: Case) -> None:
    case.save(case.truth)
    page = case.archive.annotating.client.get("/work", headers={"Accept": "text/html"}).text
    assert case.uid in page
    assert "PHANTOM" not in page
    shown = case.archive.annotating.client.get(
        "/work/image", params={"image": case.uid}, headers={"Accept": "text/html"}
    ).text
    assert f"/ohif/viewer?StudyInstanceUIDs={case.series.study_instance_uid}" in shown
