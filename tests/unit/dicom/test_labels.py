from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from readings import result_of, segment
from wetread.dicom.labels import count_labels
from wetread.errors import EncodingError
from wetread.results import Segment

SHAPE = (4, 5, 6)
TWO = (segment(1, 3), segment(2, 300, "Edema"))


def labelmap(dtype: str = "uint16") -> NDArray[np.unsignedinteger]:
    """3 on slices 1 and 3, 300 on slice 3; rows 1 to 3, columns 2 to 4."""
    array = np.zeros(SHAPE, dtype)
    array[1, 1, 2:5], array[3, 2, 3], array[3, 3, 4] = 3, 3, 300
    return array


def test_voxels_are_counted_by_segment_and_slice() -> None:
    counts = count_labels(result_of(labelmap(), TWO), SHAPE)
    np.testing.assert_array_equal(counts.counts, [[0, 3, 0, 1], [0, 0, 0, 1]])
    np.testing.assert_array_equal(counts.totals, [4, 1])
    assert (counts.slices_of(0), counts.slices_of(1)) == ([1, 3], [3])
    assert not counts.is_empty


def test_the_box_is_the_smallest_around_all_labels() -> None:
    counts = count_labels(result_of(labelmap(), TWO), SHAPE)
    assert counts.box == (slice(1, 4), slice(1, 4), slice(2, 5))


def test_segments_are_in_the_order_of_their_numbers() -> None:
    counts = count_labels(result_of(labelmap(), TWO[::-1]), SHAPE)
    assert [one.segment_number for one in counts.segments] == [1, 2]
    np.testing.assert_array_equal(counts.totals, [4, 1])


def test_an_empty_labelmap_is_a_result() -> None:
    counts = count_labels(result_of(np.zeros(SHAPE, np.uint8), TWO), SHAPE)
    assert counts.is_empty
    np.testing.assert_array_equal(counts.totals, [0, 0])
    assert counts.box == (slice(0, 0), slice(0, 0), slice(0, 0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_unsigned_labels_of_any_size_count(dtype: str) -> None:
    array = (labelmap() == 3).astype(dtype)
    assert count_labels(result_of(array), SHAPE).totals == [4]


def test_a_labelmap_of_another_shape_is_refused() -> None:
    with pytest.raises(EncodingError, match=r"phantom_ct has shape \(4, 5, 6\), its series \(4, 6"):
        count_labels(result_of(labelmap(), TWO), (4, 6, 5))


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool"])
def test_labels_that_are_no_unsigned_integers_are_refused(dtype: str) -> None:
    with pytest.raises(EncodingError, match=f"labelmap of phantom_ct is {dtype}, not uint8"):
        count_labels(result_of(labelmap().astype(dtype), TWO), SHAPE)


def test_a_value_that_is_no_segment_is_named() -> None:
    array = labelmap()
    array[0, 0, 0], array[0, 0, 1] = 7, 5
    with pytest.raises(EncodingError, match=r"holds values that are no segment: \[5, 7\]"):
        count_labels(result_of(array, TWO), SHAPE)


WRONG: dict[str, tuple[tuple[Segment, ...], str]] = {
    "number twice": ((TWO[0], replace(TWO[1], segment_number=1)), "segment number 1 .* unique"),
    "value twice": ((TWO[0], replace(TWO[1], label_value=3)), "label value 3 .* unique"),
    "number 0": ((replace(TWO[0], segment_number=0), TWO[1]), "segment number 0 .* from 1"),
    "background": ((TWO[0], replace(TWO[1], label_value=0)), "label value 0 .* from 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_segments_that_contradict_each_other_are_refused(case: str) -> None:
    segments, message = WRONG[case]
    with pytest.raises(EncodingError, match=message) as caught:
        count_labels(result_of(labelmap(), segments), SHAPE)
    assert "dicom.json" in caught.value.hint


def test_a_model_without_segments_is_refused() -> None:
    nothing = replace(result_of(labelmap()), segments=())
    with pytest.raises(EncodingError, match="phantom_ct names no segments"):
        count_labels(nothing, SHAPE)
