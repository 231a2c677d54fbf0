"""OHIF with the MONAI Label panel, in a browser: one reader's session, from login to training.

The tests follow each other on one page, as its reader goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from annotated import CODES, FIRST, NAME, RAS, SECOND, label_of, true_label
from gateway import eventually
from phantom import PhantomSeries
from viewers.browser import WAIT_SECONDS, Mask, Ohif, ohif
from viewers.conftest import READER, TOKEN, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NUMBERS = {FIRST: 1, SECOND: 2}


@dataclass(frozen=True)
class Session:
    """The page, and the two images that there are."""

    viewer: Ohif
    axial: PhantomSeries
    oblique: PhantomSeries


@pytest.fixture(scope="module")
def session(served: Served) -> Iterator[Session]:
    axial = served.add("axial")
    oblique = served.add("oblique", oblique_degrees=25.0, shuffled=True)
    with ohif(served.url) as viewer:
        yield Session(viewer, axial, oblique)


@pytest.fixture(scope="module")
def opened(session: Session) -> Ohif:
    """Logged in, with the axial series in the mode MONAI Label."""
    viewer, study = session.viewer, session.axial.study_instance_uid
    address = f"{viewer.url}/ohif/monai-label?StudyInstanceUIDs={study}"
    viewer.page.goto(address)
    if "/login" in viewer.page.url:
        viewer.log_in(READER, TOKEN)
        viewer.page.goto(address)
    viewer.connect()
    return viewer


def true_mask(mask: Mask) -> NDArray[np.uint8]:
    """What the bundle finds on the viewer's own grid."""
    return true_label(RAS @ mask.affine, mask.values.shape)


def test_after_the_login_the_work_list_shows_the_studies(session):
    """With their descriptions, of which Orthanc's answer to OHIF's own list is bare."""
    viewer = session.viewer
    viewer.page.goto(f"{viewer.url}/ohif/")
    viewer.log_in(READER, TOKEN)
    for series in (session.oblique, session.axial):
        row = viewer.page.locator(f'tr[data-cy="{series.study_instance_uid}"]')
        row.wait_for()
        assert "MR head" in row.inner_text()
    row.click()
    modes = viewer.page.locator('[data-cy^="mode-"]')
    modes.first.wait_for()
    assert "MONAI Label" in modes.all_inner_texts()


def test_the_panel_knows_its_server_and_connects(opened, session):
    assert opened.page.input_value("#monailabelServerURL") == f"{opened.url}/"
    assert opened.page.get_by_title("Not Running").count() == 1
    assert opened.page.locator("option", has_text=NAME).count() >= 1


def test_a_model_draws_its_mask_where_the_phantom_is(opened, session):
    """Voxel for voxel on the viewer's grid, each segment under its name."""
    assert opened.run_model().status == 200
    mask = opened.mask()
    expected = true_mask(mask)
    assert mask.counts() == {FIRST: (expected == 1).sum(), SECOND: (expected == 2).sum()}
    assert np.array_equal(mask.as_numbered(NUMBERS), expected)


def test_a_submitted_label_is_a_segmentation_in_the_archive(opened, session, served, tmp_path):
    if not opened.page.evaluate(
        "() => services.segmentationService.getLabelmapVolume('1')"
        ".voxelManager.getCompleteScalarDataArray().some(each => each)"
    ):
        opened.run_model()
    uid = session.axial.series_instance_uid
    assert opened.save(uid, opened.mask()) == 200
    [stored] = served.segmentations(session.axial)
    segments = {each.SegmentLabel: each for each in stored.SegmentSequence}
    assert {
        name: each.SegmentedPropertyTypeCodeSequence[0].CodeValue for name, each in segments.items()
    } == CODES
    assert stored.ContentCreatorName == READER
    image = served.annotating.image(uid, tmp_path)
    label = served.annotating.label(uid, tmp_path)
    assert np.array_equal(label, label_of(session.axial, image))


def test_the_next_sample_is_the_other_image_and_opens(opened, session):
    """Which lies obliquely: its mask is where the phantom is, too."""
    opened.tab("Active Learning").click()
    button = opened.page.get_by_role("button", name="Next Sample")
    answer = opened.answer_to("POST", "/activelearning/", button.click)
    assert answer.json()["SeriesInstanceUID"] == session.oblique.series_instance_uid
    with opened.page.expect_navigation(url=f"**/*={session.oblique.study_instance_uid}"):
        opened.page.locator(".nextSampleForm button.actionButton").click()
    opened.connect()
    assert opened.page.get_by_title("1/2 samples annotated").count() == 1
    assert opened.run_model().status == 200
    mask = opened.mask()
    assert np.array_equal(mask.as_numbered(NUMBERS), true_mask(mask))
    assert opened.save(session.oblique.series_instance_uid, mask) == 200


def test_a_training_starts_from_the_panel_and_ends(opened, served):
    opened.tab("Active Learning").click()
    button = opened.page.get_by_role("button", name="Update Model")
    answer = opened.answer_to("POST", "/train/", button.click)
    assert answer.status == 200, answer.text()
    opened.page.get_by_role("button", name="Stop Training").wait_for()
    told = eventually(lambda: ended(served), WAIT_SECONDS)
    assert told["status"] == "DONE", told["details"]
    assert "epoch 10 of 10" in "\n".join(told["details"])


def test_a_stored_label_opens_in_the_mode_where_masks_are_corrected(
    opened, session, served, tmp_path
):
    """Voxel counts per segment, as they are in the archive."""
    image = served.annotating.image(session.axial.series_instance_uid, tmp_path)
    truth = label_of(session.axial, image)
    counts = opened.open_segmentation(session.axial.study_instance_uid)
    assert counts == {FIRST: (truth == 1).sum(), SECOND: (truth == 2).sum()}
    assert opened.page.locator('[data-cy="Brush"]').count() == 1


def test_the_page_asked_nobody_else_and_all_its_files_are_what_they_say(opened):
    assert len(opened.asked) > 50
    assert opened.elsewhere() == []
    assert opened.of_another_type() == []
    assert opened.errors == []


def ended(served: Served) -> dict[str, Any] | None:
    """The training, once it no longer runs."""
    if served.annotating.get("/train/", check_if_running=True).status_code == 200:
        return None
    told: dict[str, Any] = served.annotating.get("/train/").json()
    return told if told.get("end_ts") else None
