"""Which objects a result becomes, under which UIDs, and when it becomes none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from phantom import PhantomSeries, received, write_series
from readings import MODEL, result_context, result_of, segment, two_part_labelmap
from wetread.dicom.attributes import read_series
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import ENCODERS, EncodedObject, encode
from wetread.errors import EncodingError
from wetread.results import Finding, FindingsResult, OnDemand, SegmentationResult
from wetread.uids import job_uid, result_uid

FINDINGS = FindingsResult((Finding(Code("72704001", "SCT", "Fracture"), 0.75, 0.5),), MODEL)
SOP_CLASSES = {
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "SR": "1.2.840.10008.5.1.4.1.1.88.34",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    folder = tmp_path_factory.mktemp("series")
    return write_series(folder, shape=(9, 24, 20), slice_spacing_mm=13, row_spacing_mm=8)


@pytest.fixture(scope="module")
def source(series: PhantomSeries) -> SourceVolume:
    return load_volume(received(series))


@pytest.fixture(scope="module")
def result(series: PhantomSeries) -> SegmentationResult:
    return result_of(two_part_labelmap(series), (segment(1, 1), segment(2, 2, "Edema")))


def test_a_segmentation_is_seg_sr_and_sc(result: SegmentationResult, source: SourceVolume) -> None:
    """In the order in which they are sent: the report comes after the SEG that it names."""
    objects = encode(result, source, result_context())
    assert {each.kind: each.sop_class_uid for each in objects} == SOP_CLASSES
    assert [each.kind for each in objects] == ["SEG", "SR", "SC"]


def test_an_empty_mask_has_no_seg(result: SegmentationResult, source: SourceVolume) -> None:
    """A SEG needs a frame; report and picture say that nothing was found."""
    empty = replace(result, labelmap=np.zeros_like(result.labelmap))
    assert kinds(encode(empty, source, result_context())) == ["SR", "SC"]


def test_findings_are_a_report(source: SourceVolume) -> None:
    (report,) = encode(FINDINGS, source, result_context())
    assert (report.kind, report.sop_class_uid) == ("SR", SOP_CLASSES["SR"])


def test_every_type_of_result_has_its_encoder() -> None:
    assert set(ENCODERS) == {SegmentationResult, FindingsResult}


def test_a_result_of_another_type_is_refused(source: SourceVolume) -> None:
    unknown: Any = {"labelmap": None}
    message = "no encoder for dict, only for FindingsResult, SegmentationResult"
    with pytest.raises(EncodingError, match=message) as caught:
        encode(unknown, source, result_context())
    assert (caught.value.stage, caught.value.retryable) == ("encode", False)
    assert "encode/registry.py" in caught.value.hint


def test_a_refused_result_says_of_which_series(
    result: SegmentationResult, source: SourceVolume, series: PhantomSeries
) -> None:
    turned = replace(result, labelmap=result.labelmap.transpose(0, 2, 1))
    message = r"labelmap of phantom_ct has shape \(9, 20, 24\), its series \(9, 24, 20\)"
    with pytest.raises(EncodingError, match=message) as caught:
        encode(turned, source, result_context())
    assert caught.value.stage == "encode"
    assert caught.value.study_instance_uid == series.study_instance_uid
    assert caught.value.series_instance_uid == series.series_instance_uid
    assert "invert its spatial transforms" in caught.value.hint


@pytest.mark.parametrize("kind", SOP_CLASSES)
def test_uids_are_derived_from_the_job(
    result: SegmentationResult, source: SourceVolume, kind: str
) -> None:
    found = by_kind(encode(result, source, result_context("1.2.3.99")))[kind]
    assert found.sop_instance_uid == result_uid("1.2.3.99", kind)
    assert found.dataset.SeriesInstanceUID == result_uid("1.2.3.99", f"{kind} series")
    assert len(found.sop_instance_uid) <= 64


def test_another_attempt_has_other_uids_throughout(
    result: SegmentationResult, source: SourceVolume
) -> None:
    """No UID of ours names two contents; those of the source stay."""
    first, second = (
        {uid for each in encode(result, source, attempt(number)) for uid in uids_of(each.dataset)}
        for number in (1, 2)
    )
    theirs = {header.SOPInstanceUID for header in source.instances}
    header = source.instances[0]
    theirs |= {header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID}
    theirs |= {result_context().device_uid}
    assert first & second <= theirs
    # Five in the SEG (two of them of segments, one of its dimensions), two in SR and SC each.
    assert len(first - second) == len(second - first) == 9


def test_encoding_again_gives_the_same_bytes(series: PhantomSeries) -> None:
    """From the same files, read again: a retry after a crash sends what it would have sent."""
    folder = series.paths[0].parent
    first, second = files_of(folder), files_of(folder)
    assert first == second
    assert set(first) == {*SOP_CLASSES, *OnDemand}


def test_another_process_gives_the_same_bytes(series: PhantomSeries, tmp_path: Path) -> None:
    """With other hashes and at another time."""
    folder, here = series.paths[0].parent, Path(__file__)
    script = (
        f"import sys; sys.path[:0] = [{str(here.parents[2])!r}, {str(here.parent)!r}]\n"
        "import pathlib, test_registry\n"
        f"for kind, data in test_registry.files_of(pathlib.Path({str(folder)!r})).items():\n"
        f"    (pathlib.Path({str(tmp_path)!r}) / kind).write_bytes(data)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files_of(folder)


def test_a_later_job_differs_in_its_times(result: SegmentationResult, source: SourceVolume) -> None:
    context = result_context()
    later = replace(context, created_at=context.created_at + timedelta(seconds=61))
    (first, *_), (second, *_) = (encode(result, source, each) for each in (context, later))
    assert first.dataset.ContentTime == "050607.890000"
    assert second.dataset.ContentTime == "050708.890000"


def test_the_bytes_are_a_dicom_file(result: SegmentationResult, source: SourceVolume) -> None:
    for each in encode(result, source, result_context()):
        dataset = dcmread(BytesIO(each.file_bytes()))
        assert dataset.SOPInstanceUID == each.sop_instance_uid
        assert dataset.SOPClassUID == each.sop_class_uid


def test_a_result_is_left_as_it_was(result: SegmentationResult, source: SourceVolume) -> None:
    labelmap, array = result.labelmap.copy(), source.array.copy()
    encode(result, source, result_context())
    np.testing.assert_array_equal(result.labelmap, labelmap)
    np.testing.assert_array_equal(source.array, array)


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all objects about the lesion of 120 HU in a folder, of those on demand, too."""
    source = load_volume(read_series(find_instances(folder)))
    result = result_of((source.array == 120).astype(np.uint8))
    context = replace(attempt(1), also=frozenset(OnDemand))
    return {each.kind: each.file_bytes() for each in encode(result, source, context)}


def attempt(number: int) -> Any:
    uid = job_uid(["1.2.3"], MODEL.name, MODEL.weights_sha256, generation=1, attempt=number)
    return result_context(uid)


def kinds(objects: tuple[EncodedObject, ...]) -> list[str]:
    return [each.kind for each in objects]


def by_kind(objects: tuple[EncodedObject, ...]) -> dict[str, EncodedObject]:
    return {each.kind: each for each in objects}


def uids_of(dataset: Dataset) -> set[str]:
    """All UIDs in it but those that the standard gave, at any depth."""
    found = {str(each.value) for each in dataset.iterall() if each.VR == "UI" and each.value}
    return {uid for uid in found if not uid.startswith("1.2.840.10008.")}
