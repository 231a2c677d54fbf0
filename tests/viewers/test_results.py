"""A radiologist's session: a study opens with the gateway's mask, is corrected, and saved.

The tests follow each other on one page, over one archive and one running gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from conftest import ROOT
from gateway import Gateway, eventually, running_gateway, settings
from network import neighbours
from phantom import PhantomSeries, write_series
from radiograph import write_radiograph
from readings import (
    MODEL,
    complaints,
    reading_of,
    result_context,
    result_of,
    segment,
    two_part_labelmap,
)
from tiny_model import NETWORK, TinyModel
from viewers.browser import ohif
from viewers.results_page import ResultsPage
from wetread.bundle_components.labelmaps import labelmap_of
from wetread.config import Config
from wetread.corrections.cases import read_corrections
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.terms import BRAIN
from wetread.dicom.volume import load_volume
from wetread.encode.registry import encode
from wetread.results import Finding, FindingsResult, HeatMap
from wetread.viewer.settings import address_of, study_address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LABEL = "Ellipsoid"
# OHIF says so where one report follows another before its images are all there.
TAKEN_AWAY = "viewport has been destroyed"


@dataclass(frozen=True)
class Session:
    """A page, and what it looks at."""

    page: ResultsPage
    config: Config
    orthanc: neighbours.Orthanc
    series: PhantomSeries
    folder: Path

    def segmentations(self) -> list[Dataset]:
        """Of the series, as they lie in the archive, the gateway's own first."""
        query = {"Level": "Instance", "Query": {"Modality": "SEG"}}
        names = self.orthanc.post("/tools/find", query).json()
        found = [dcmread(BytesIO(self.orthanc.file(name))) for name in names]
        wanted = self.series.series_instance_uid
        mine = [e for e in found if e.ReferencedSeriesSequence[0].SeriesInstanceUID == wanted]
        return sorted(mine, key=lambda each: (each.Manufacturer != "wetread", each.ContentTime))

    def stored_mask(self, seg: Dataset) -> NDArray[np.uint8]:
        """Its one segment, by its millimetres on the grid of the series."""
        affine = self.series.affine[:, [2, 1, 0, 3]]
        shape = tuple(reversed(self.series.shape))
        return labelmap_of(seg, affine, shape, {1: 1}).transpose(2, 1, 0)

    def put(self, images: Iterable[Path], objects: Iterable[bytes]) -> None:
        """Images and results on them, into the archive."""
        for path in images:
            self.orthanc.upload(path)
        for content in objects:
            path = self.folder / "result.dcm"
            path.write_bytes(content)
            self.orthanc.upload(path)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, tiny_ct: TinyModel) -> Iterator[Session]:
    """The gateway has read an oblique series; all lies in the archive."""
    folder = tmp_path_factory.mktemp("results")
    series = write_series(folder / "study", shape=(14, 47, 39), oblique_degrees=20.0)
    with neighbours.orthanc(folder) as orthanc:
        for path in series.paths:
            orthanc.upload(path)
        url = orthanc.dicomweb_url
        config = settings(
            folder,
            tiny_ct,
            {"orthanc": {"kind": "dicomweb", "url": url}},
            label={"studies": url, "folder": str(folder / "annotations"), "collect_seconds": 0.5},
            viewer={
                "studies": url,
                "port": neighbours.free_port(),
                "folder": str(ROOT / ".cache/ohif"),
            },
        )
        with running_gateway(config) as gateway, ohif(address_of(config.viewer)) as viewer:
            read(gateway, series)
            yield Session(ResultsPage(viewer), config, orthanc, series, folder)


def read(gateway: Gateway, series: PhantomSeries) -> None:
    gateway.send(series.paths)
    job = gateway.job(series.study_instance_uid)
    assert gateway.deliveries(job.job_id)


def test_the_work_list_shows_the_study_with_its_description(session: Session) -> None:
    """Of a list of attributes, an older Orthanc would give none."""
    viewer = session.page.ohif
    viewer.page.goto(f"{viewer.url}/")
    row = viewer.page.locator("tr", has_text="CT head")
    row.wait_for()
    assert "Phantom, Head" in row.inner_text()


def test_a_study_opens_with_the_gateways_mask_drawn(session: Session) -> None:
    """By its address alone, without a question; each voxel where the file has it."""
    study = session.series.study_instance_uid
    session.page.open(study_address(session.config.viewer, study))
    session.page.wait_for_mask()
    mask = session.series.mask()
    assert np.array_equal(session.page.mask(session.series), mask)
    assert list(session.page.names()) == [LABEL]
    # In the middle of the mask, not at the first image, where there is none.
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    assert session.page.place(session.series) in drawn[len(drawn) // 2 - 1 : len(drawn) // 2 + 1]


def test_a_brush_stroke_is_saved_as_it_is_drawn(session: Session, tmp_path: Path) -> None:
    """A new Segmentation of the same series, at the same millimetres, with the same codes."""
    page, before = session.page, session.page.mask(session.series)
    page.stroke("Brush")
    drawn = page.mask(session.series)
    assert (drawn >= before).all()
    assert drawn.sum() > before.sum()
    assert page.save().status == 200
    original, saved = session.segmentations()
    assert saved.SOPInstanceUID != original.SOPInstanceUID
    assert saved.SeriesInstanceUID != original.SeriesInstanceUID
    assert saved.FrameOfReferenceUID == original.FrameOfReferenceUID
    assert np.array_equal(session.stored_mask(saved), drawn)
    assert kind_of(saved) == kind_of(original)
    assert saved.SegmentSequence[0].SegmentLabel == LABEL
    assert saved.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert complaints(saved, tmp_path) == []


def kind_of(seg: Dataset) -> Dataset:
    """What its one segment says of the thing, without who drew it."""
    [item] = seg.SegmentSequence
    kept = Dataset()
    for keyword in (
        *("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"),
        *("RecommendedDisplayCIELabValue", "TrackingID", "TrackingUID"),
    ):
        kept[keyword] = item[keyword]
    return kept


def test_the_gateway_makes_a_case_of_it_by_itself(session: Session) -> None:
    saved = session.segmentations()[-1]
    folder = session.config.label.folder / "corrections"
    [case] = eventually(lambda: read_corrections(folder, NETWORK))
    assert case.case_id == saved.SOPInstanceUID
    assert case.annotator == "OHIF"
    assert case.from_model is not None
    assert case.from_model.name == "tiny"
    label = np.asarray(nibabel.load(case.label).dataobj).transpose(2, 1, 0)
    assert np.array_equal(label, session.page.mask(session.series))


def test_the_reader_goes_on_and_saves_again(session: Session) -> None:
    """What is drawn after a save is what was saved: OHIF's own copy would repeat one slice."""
    page, before = session.page, session.page.mask(session.series)
    assert np.array_equal(session.stored_mask(session.segmentations()[-1]), before)
    page.stroke("Eraser")
    drawn = page.mask(session.series)
    assert drawn.sum() < before.sum()
    assert page.save().status == 200
    newest = session.segmentations()[-1]
    assert np.array_equal(session.stored_mask(newest), drawn)
    assert newest.SeriesDescription == "wetread tiny segmentation, corrected"


def test_a_study_opens_with_what_a_reader_corrected(session: Session) -> None:
    before = session.page.mask(session.series)
    session.page.open(study_address(session.config.viewer, session.series.study_instance_uid))
    session.page.wait_for_mask()
    assert np.array_equal(session.page.mask(session.series), before)


def test_contours_open_over_the_images(session: Session) -> None:
    """Every contour of an RT Structure Set, under the name of its ROI."""
    series = write_series(session.folder / "contours", shape=(12, 41, 37), seed="contours")
    parts = (segment(1, 1, "Right part"), segment(2, 2, "Left part"))
    context = replace(result_context("1.2.3.7"), also=frozenset({"RTSTRUCT"}))
    reading = reading_of(series, result_of(two_part_labelmap(series), parts), context)
    session.put(series.paths, [reading.files["RTSTRUCT"]])
    written = dcmread(BytesIO(reading.files["RTSTRUCT"]))
    names = {each.ROINumber: each.ROIName for each in written.StructureSetROISequence}
    truth = {
        names[each.ReferencedROINumber]: len(each.ContourSequence)
        for each in written.ROIContourSequence
    }
    study = series.study_instance_uid
    session.page.open(study_address(session.config.viewer, study, reports=True))
    assert session.page.open_contours() == truth
    assert session.page.complaints() == []


def put_every_form(session: Session) -> tuple[PhantomSeries, NDArray[np.uint8]]:
    """A study with each form of result that the gateway writes, and the labelmap of its SEG."""
    series = write_series(session.folder / "forms", shape=(12, 41, 37), seed="forms")
    labelmap = two_part_labelmap(series)
    parts = (segment(1, 1, "Right part"), segment(2, 2, "Left part"))
    heat = HeatMap(np.linspace(0, 1, 41 * 37, dtype=np.float32).reshape(41, 37), BRAIN, "Grad-CAM")
    findings = FindingsResult((Finding(BRAIN, 0.87, 0.43),), MODEL, slice_index=3, heat_map=heat)
    results = (result_of(labelmap, parts), result_of(labelmap * 0, parts), findings)
    for number, result in enumerate(results):
        reading = reading_of(series, result, result_context(f"1.2.3.{number}"))
        session.put(series.paths, reading.files.values())
    path = session.folder / "chest/1.dcm"
    write_radiograph(path, StudyInstanceUID=series.study_instance_uid)
    [chest] = read_study(find_instances(path.parent)).series
    flat = FindingsResult(findings.findings, MODEL, slice_index=0)
    objects = encode(flat, load_volume(chest), result_context("1.2.3.9"))
    session.put([path], [each.file_bytes() for each in objects])
    return series, labelmap


def test_every_form_of_result_opens(session: Session) -> None:
    """A mask of two parts, each under its name with as many voxels as in the file; all reports."""
    series, labelmap = put_every_form(session)
    study = series.study_instance_uid
    session.page.open(study_address(session.config.viewer, study, reports=True))
    session.page.wait_for_mask()
    truth = {"Right part": int((labelmap == 1).sum()), "Left part": int((labelmap == 2).sum())}
    assert session.page.counts(series) == truth
    found = {number: session.page.open_report(number) for number in range(4)}
    # Of a volume and a radiograph; of each part, also where there is none.
    assert sorted(found.values()) == [1, 1, 2, 2]
    assert session.page.complaints() == []


def test_the_page_asked_nobody_else_and_all_its_files_are_what_they_say(session: Session) -> None:
    viewer = session.page.ohif
    assert len(viewer.asked) > 50
    assert viewer.elsewhere() == []
    assert session.page.of_another_type() == []
    assert [each for each in viewer.errors if TAKEN_AWAY not in each] == []
