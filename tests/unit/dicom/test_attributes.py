"""What rules ask about, read from the headers of real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from phantom import PhantomSeries, received, write_series
from wetread.dicom.attributes import read_series, read_study
from wetread.errors import UnreadablePixelsError
from wetread.study import Series, Unusable


def attributes(series: PhantomSeries) -> Series:
    return read_series(received(series).instances)


def change(series: PhantomSeries, **values: object) -> None:
    for path in series.paths:
        dataset = dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


def test_the_facts_of_a_series(tmp_path: Path) -> None:
    found = attributes(write_series(tmp_path, modality="MR", shape=(12, 20, 16)))
    assert (found.modality, found.body_part_examined) == ("MR", "HEAD")
    assert (found.image_count, found.frames) == (12, None)
    assert found.slice_spacing_mm == pytest.approx(5.0)
    assert found.orientation == "axial"


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [("axial", "axial"), ("sagittal", "sagittal"), ("coronal", "coronal"), ("feet-first", "axial")],
)
def test_the_plane_of_a_series(tmp_path: Path, orientation: str, plane: str) -> None:
    small = write_series(tmp_path, orientation=orientation, shape=(4, 8, 8))
    assert attributes(small).orientation == plane


def test_a_steep_plane_is_oblique(tmp_path: Path) -> None:
    assert attributes(write_series(tmp_path, oblique_degrees=35, shape=(4, 8, 8))).orientation == (
        "oblique"
    )


def test_an_enhanced_image_counts_its_frames(tmp_path: Path) -> None:
    found = attributes(write_series(tmp_path, modality="MR", enhanced=True, shape=(12, 8, 8)))
    assert (len(found.instances), found.frames, found.image_count) == (1, 12, 12)
    assert found.slice_spacing_mm == pytest.approx(5.0)
    assert found.orientation == "axial"


def test_image_type_holds_what_any_instance_has(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(4, 8, 8))
    change(series, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    dataset = dcmread(series.paths[2])
    dataset.ImageType = ["DERIVED", "PRIMARY", "MIP"]
    dataset.save_as(series.paths[2])
    assert set(attributes(series).image_type) == {"ORIGINAL", "DERIVED", "PRIMARY", "AXIAL", "MIP"}


@pytest.mark.parametrize(
    ("values", "years"),
    [
        ({"PatientAge": "042Y"}, 42.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "026W"}, pytest.approx(0.498, abs=0.001)),
        (
            {"PatientAge": "", "PatientBirthDate": "19800101", "StudyDate": "20200101"},
            pytest.approx(40.0, abs=0.01),
        ),
    ],
)
def test_the_age_of_the_patient(tmp_path: Path, values: dict[str, object], years: float) -> None:
    series = write_series(tmp_path, shape=(3, 8, 8))
    change(series, **values)
    assert read_study(received(series).instances).patient_age_years == years


def test_an_age_that_is_none_is_unusable(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 8, 8))
    change(series, PatientBirthDate="", PatientAge="")
    assert read_study(received(series).instances).patient_age_years is None
    raw = series.paths[0].read_bytes()
    dataset = dcmread(series.paths[0])
    dataset.PatientAge = "042Y"
    dataset.save_as(series.paths[0])
    raw = series.paths[0].read_bytes()
    series.paths[0].write_bytes(raw.replace(b"042Y", b"4two"))
    found = read_study(received(series).instances).patient_age_years
    assert found == Unusable("PatientAge", "4two")


def test_a_birth_date_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 8, 8))
    change(series, PatientAge="", PatientBirthDate="19800101")
    raw = series.paths[0].read_bytes()
    series.paths[0].write_bytes(raw.replace(b"19800101", b"1980-1-1"))
    found = read_study(received(series).instances[:1]).patient_age_years
    assert found == Unusable("PatientBirthDate", "not a date")


def test_series_stay_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    one = write_series(tmp_path / "1", shape=(3, 8, 8), seed="one")
    two = write_series(tmp_path / "2", shape=(3, 8, 8), seed="two")
    mixed = [*received(two).instances, *received(one).instances]
    found = [series.series_instance_uid for series in read_study(mixed).series]
    assert found == [two.series_instance_uid, one.series_instance_uid]


def test_a_file_that_is_no_dicom_is_named(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 8, 8))
    instances = received(series).instances
    series.paths[1].write_bytes(b"not DICOM")
    with pytest.raises(UnreadablePixelsError, match=series.paths[1].name):
        read_series(instances)
