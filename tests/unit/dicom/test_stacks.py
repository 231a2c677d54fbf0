"""Stacks in one series: which images belong together, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from odd_files import KINDS, SMALL
from phantom import write_series
from wetread.dicom.attributes import read_series, read_study
from wetread.dicom.files import find_instances
from wetread.dicom.stacks import MOST_STACKS
from wetread.dicom.volume import load_volume
from wetread.errors import UnsupportedSeriesError
from wetread.study import Series
from wetread.uids import derived_uid


def stacks(folder: Path) -> tuple[Series, ...]:
    return read_study(find_instances(folder), stack_by_stack=True).series


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("classic", [""]),
        ("enhanced", [""]),
        ("two acquisitions", ["Acquisition Number 1", "Acquisition Number 2"]),
        ("two echoes", ["Echo Time 1.0", "Echo Time 4.6"]),
        (
            "two temporal positions",
            ["Temporal Position Identifier 1", "Temporal Position Identifier 2"],
        ),
        ("two b-values", ["Diffusion b-value 1.0", "Diffusion b-value 1000.0"]),
        ("two multi-frame images", ["instance 1", "instance 2"]),
        ("classic and enhanced", ["instance 1", "single-frame images"]),
        ("every position twice", [""]),
        ("gap", [""]),
    ],
)
def test_the_stacks_of_a_series_have_names(tmp_path: Path, kind: str, names: list[str]) -> None:
    KINDS[kind].write(tmp_path)
    assert [each.stack for each in stacks(tmp_path)] == names


def test_each_stack_is_the_volume(tmp_path: Path) -> None:
    """The same phantom at the same millimetres, twice."""
    KINDS["two echoes"].write(tmp_path / "odd")
    truth = write_series(tmp_path / "truth", shape=SMALL)
    found = stacks(tmp_path / "odd")
    for each in found:
        source = load_volume(each)
        np.testing.assert_array_equal(source.array, truth.values())
        np.testing.assert_allclose(source.affine, truth.affine, atol=1e-6)
    paths = [instance.path for each in found for instance in each.instances]
    assert len(set(paths)) == len(paths) == 8


def test_a_classic_series_and_its_enhanced_form_are_one_volume(tmp_path: Path) -> None:
    KINDS["classic and enhanced"].write(tmp_path)
    enhanced, classic = map(load_volume, stacks(tmp_path))
    np.testing.assert_array_equal(enhanced.array, classic.array)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-9)


@pytest.mark.parametrize("kind", ["report in a series", "localizer in a series"])
def test_what_is_no_slice_is_in_no_stack(tmp_path: Path, kind: str) -> None:
    KINDS[kind].write(tmp_path)
    [found] = stacks(tmp_path)
    assert sorted(each.path.name for each in found.instances) == [
        f"{number:04d}.dcm" for number in range(1, 5)
    ]
    assert load_volume(found).shape == SMALL


def test_a_stack_is_found_again_by_its_name(tmp_path: Path) -> None:
    KINDS["two echoes"].write(tmp_path)
    instances = find_instances(tmp_path)
    [_, second] = stacks(tmp_path)
    assert read_series(instances, "Echo Time 4.6") == second
    with pytest.raises(UnsupportedSeriesError, match="no stack 'Echo Time 9'; there: Echo Time 1"):
        read_series(instances, "Echo Time 9")


def test_half_a_repetition_is_not_a_stack(tmp_path: Path) -> None:
    """Two acquisitions that cover different positions are no volume acquired twice."""
    KINDS["two acquisitions"].write(tmp_path)
    next(iter(sorted(tmp_path.glob("odd2*")))).unlink()
    assert [each.stack for each in stacks(tmp_path)] == [""]


def test_a_time_series_is_not_read_hundreds_of_times(tmp_path: Path) -> None:
    paths = write_series(tmp_path, shape=(2, 8, 8)).paths
    for time in range(2, MOST_STACKS + 2):
        for path in paths:
            image = dcmread(path)
            image.TemporalPositionIdentifier = time
            image.SOPInstanceUID = derived_uid(image.SOPInstanceUID, str(time))
            image.save_as(tmp_path / f"{path.stem}-{time}.dcm")
    assert [each.stack for each in stacks(tmp_path)] == [""]
