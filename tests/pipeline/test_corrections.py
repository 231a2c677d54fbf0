"""What a reader draws in the archive comes back as a training case, by itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from gateway import Gateway, eventually, running_gateway, settings
from network import neighbours
from network.neighbours import Orthanc
from phantom import PhantomSeries, write_series
from tiny_model import NETWORK, TinyModel
from wetread.corrections.archive import Archive
from wetread.corrections.cases import Correction, holdout_of, read_corrections
from wetread.corrections.collect import Collected, collect

pytestmark = pytest.mark.timeout(90)
LABEL = "Ellipsoid"


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with neighbours.orthanc(tmp_path) as running:
        yield running


@pytest.fixture
def series(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "study", shape=(14, 24, 20), oblique_degrees=20.0)


@pytest.fixture
def gateway(
    tmp_path: Path, tiny_ct: TinyModel, orthanc: Orthanc, series: PhantomSeries
) -> Iterator[Gateway]:
    """It has read the series; the images and its results lie in the archive."""
    for path in series.paths:
        orthanc.upload(path)
    config = settings(
        tmp_path,
        tiny_ct,
        {"orthanc": {"kind": "dicomweb", "url": orthanc.dicomweb_url}},
        label={
            "studies": orthanc.dicomweb_url,
            "folder": str(tmp_path / "annotations"),
            "collect_seconds": 0.3,
        },
    )
    with running_gateway(config) as running:
        running.send(series.paths)
        running.job(series.study_instance_uid)
        eventually(lambda: [each for each in orthanc.instances() if each not in own(series)])
        yield running


def own(series: PhantomSeries) -> set[str]:
    return {dcmread(path).SOPInstanceUID for path in series.paths}


def corrections(tmp_path: Path) -> tuple[Correction, ...]:
    return read_corrections(tmp_path / "annotations/corrections", NETWORK)


OWN_KIND = (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Mass)
TISSUE = (codes.SCT.Tissue, codes.SCT.Tissue)


def draw(
    series: PhantomSeries,
    mask: NDArray[np.uint8],
    *labels: str,
    moment: str = "",
    kind: tuple[Code, Code] = TISSUE,
    segmentation_type: str = "BINARY",
) -> Segmentation:
    """As a viewer of another maker stores it; slices without anything are left out.

    The values of `mask` are the numbers of the segments, from 1; without labels there is one, with
    the name that the bundle gives it.
    """
    sources = [dcmread(path) for path in series.paths]
    normal = series.affine[:3, 0]
    sources.sort(key=lambda each: float(np.dot(normal, each.ImagePositionPatient)))
    drawn = Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type=segmentation_type,
        segment_descriptions=[
            SegmentDescription(number, label, *kind, "MANUAL")
            for number, label in enumerate(labels or (LABEL,), 1)
        ],
        series_instance_uid=generate_uid(),
        series_number=77,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Another viewer",
        manufacturer_model_name="V",
        software_versions="9",
        device_serial_number="1",
        content_creator_name="Reader^Anna",
        omit_empty_frames=bool(mask.any()),
    )
    if moment:
        drawn.ContentDate = moment
    return drawn


def counted_corrections() -> float:
    labels = {"model": "tiny", "version": "0.0.1"}
    return REGISTRY.get_sample_value("wetread_corrections_total", labels) or 0.0


def is_held_out(series_instance_uid: str) -> bool:
    return hashlib.sha256(series_instance_uid.encode()).digest()[0] / 256 < 0.2


def store(orthanc: Orthanc, tmp_path: Path, drawn: Segmentation) -> str:
    path = tmp_path / "drawn.dcm"
    drawn.save_as(path)
    orthanc.upload(path)
    return str(drawn.SOPInstanceUID)


def test_a_reader_corrects_the_gateways_mask(
    tmp_path: Path, gateway: Gateway, orthanc: Orthanc, series: PhantomSeries
) -> None:
    """The case holds image and mask on one grid, who drew it, and which model it corrects."""
    mask = np.roll(series.mask(), 2, axis=1)
    before = counted_corrections()
    uid = store(orthanc, tmp_path, draw(series, mask))
    [case] = eventually(lambda: corrections(tmp_path))
    eventually(lambda: counted_corrections() == before + 1)
    assert (case.case_id, case.annotator) == (uid, "Reader^Anna")
    assert case.series_instance_uid == series.series_instance_uid
    assert case.subgroups == {"sex": "O", "age": "50-59", "manufacturer": "WETREAD"}
    assert case.from_model is not None
    assert (case.from_model.name, case.from_model.version) == ("tiny", "0.0.1")
    image, label = nibabel.load(case.image), nibabel.load(case.label)
    expected = np.diag([-1, -1, 1, 1]) @ series.affine[:, [2, 1, 0, 3]]
    assert np.allclose(image.affine, expected, atol=1e-3)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), series.values())
    assert np.array_equal(np.asarray(label.dataobj).transpose(2, 1, 0), mask)


def test_of_two_the_newer_is_the_case(
    tmp_path: Path, gateway: Gateway, orthanc: Orthanc, series: PhantomSeries
) -> None:
    """The older is set aside, not lost; an empty mask is an answer too."""
    first = store(orthanc, tmp_path, draw(series, series.mask()))
    eventually(lambda: corrections(tmp_path))
    second = store(orthanc, tmp_path, draw(series, series.mask() * 0, moment="20990101"))
    found = eventually(lambda: [e for e in corrections(tmp_path) if e.case_id == second])
    eventually(lambda: len(corrections(tmp_path)) == 1)
    assert not np.asarray(nibabel.load(found[0].label).dataobj).any()
    folder = tmp_path / "annotations/corrections" / NETWORK
    kept = json.loads((folder / "superseded" / first / "case.json").read_text())
    assert kept["case_id"] == first


def test_what_cannot_be_used_is_told_and_keeps_nothing_else_back(
    tmp_path: Path, gateway: Gateway, orthanc: Orthanc, series: PhantomSeries
) -> None:
    """A mask beside the grid, and one of another organ, are no cases; a good one is."""
    other = write_series(tmp_path / "other", shape=(14, 24, 20), seed="other")
    for path in other.paths:
        orthanc.upload(path)
    shifted = draw(other, other.mask())
    for each in shifted.PerFrameFunctionalGroupsSequence:
        each.PlanePositionSequence[0].ImagePositionPatient[0] += 1.2
    store(orthanc, tmp_path, shifted)
    store(orthanc, tmp_path, draw(other, other.mask(), "Liver", moment="20980101"))
    good = store(orthanc, tmp_path, draw(series, series.mask()))
    eventually(lambda: corrections(tmp_path))
    assert [each.case_id for each in corrections(tmp_path)] == [good]


def test_a_held_out_series_is_named_before_it_is_a_case(
    tmp_path: Path, gateway: Gateway, orthanc: Orthanc
) -> None:
    """By a hash of its UID: one in five, and always the same."""
    chosen = next(
        drawn
        for number in range(100)
        if (drawn := write_series(tmp_path / f"s{number}", shape=(5, 12, 12), seed=f"s{number}"))
        and is_held_out(drawn.series_instance_uid)
    )
    for path in chosen.paths:
        orthanc.upload(path)
    uid = store(orthanc, tmp_path, draw(chosen, chosen.mask()))
    eventually(lambda: corrections(tmp_path))
    assert holdout_of(tmp_path / "annotations/corrections", NETWORK) == {uid}


def collected(tmp_path: Path, orthanc: Orthanc, tiny_ct: TinyModel) -> dict[str, Collected]:
    """What a collection of its own says, by SOP Instance UID."""
    with closing(Archive(orthanc.dicomweb_url)) as archive:
        found = collect(archive, [tiny_ct.bundle], tmp_path / "once")
    return {each.sop_instance_uid: each for each in found}


def test_a_segment_is_known_by_its_name_else_by_its_codes(
    tmp_path: Path, orthanc: Orthanc, tiny_ct: TinyModel
) -> None:
    """A name of other case; another name with the bundle's codes; a Label Map Segmentation."""
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        (" ellipsoid", {}),
        ("the mass", {"kind": OWN_KIND}),
        (LABEL, {"segmentation_type": "LABELMAP"}),
    )
    stored = {}
    for number, (label, how) in enumerate(ways):
        one = write_series(tmp_path / f"s{number}", shape=(7, 16, 14), seed=f"s{number}")
        for path in one.paths:
            orthanc.upload(path)
        stored[store(orthanc, tmp_path, draw(one, one.mask(), label, **how))] = one
    found = collected(tmp_path, orthanc, tiny_ct)
    assert {uid: each.reason for uid, each in found.items()} == dict.fromkeys(stored, "")
    for case in read_corrections(tmp_path / "once", NETWORK):
        label = np.asarray(nibabel.load(case.label).dataobj)
        assert np.array_equal(label.transpose(2, 1, 0), stored[case.case_id].mask())


def test_frames_that_begin_on_bytes_of_their_own_are_refused(
    tmp_path: Path, orthanc: Orthanc, tiny_ct: TinyModel
) -> None:
    """As some viewers write them: read as they should lie, each row would slip."""
    series = write_series(tmp_path / "odd", shape=(7, 15, 13), seed="odd")
    for path in series.paths:
        orthanc.upload(path)
    drawn = draw(series, series.mask())
    frames = drawn.pixel_array.reshape(int(drawn.NumberOfFrames), -1)
    apart = np.packbits(frames, axis=1, bitorder="little").tobytes()
    drawn.PixelData = apart + bytes(len(apart) % 2)
    uid = store(orthanc, tmp_path, drawn)
    reason = collected(tmp_path, orthanc, tiny_ct)[uid].reason
    assert re.search(r"its pixels are \d+ bytes, \d+ belong there", reason), reason


def test_a_segment_that_nobody_knows_is_refused_by_name(
    tmp_path: Path, gateway: Gateway, orthanc: Orthanc, series: PhantomSeries, tiny_ct: TinyModel
) -> None:
    """Alone or beside a known one; it never takes the place of another by its number."""
    beside = series.mask()
    beside[:3, :3, :3] = 2
    both = store(orthanc, tmp_path, draw(series, beside, LABEL, "Segment 2", moment="20980101"))
    alone = store(orthanc, tmp_path, draw(series, series.mask(), "Segment 1", moment="20990101"))
    found = collected(tmp_path, orthanc, tiny_ct)
    assert not found[both].case_id
    assert "'Segment 2' is none of Ellipsoid; give the segment its name back" in found[both].reason
    assert not found[alone].case_id
    assert "'Segment 1' is none of Ellipsoid" in found[alone].reason
    assert read_corrections(tmp_path / "once", NETWORK) == ()
