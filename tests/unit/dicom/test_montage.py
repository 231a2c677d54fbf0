"""The picture: which slices, the right way round, coloured where the mask is and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from phantom import PhantomSeries, received, write_series
from readings import result_of, segment, two_part_labelmap
from wetread.dicom.colour import rgb_of_cielab
from wetread.dicom.drawing import (
    AMBER,
    WHITE,
    Captions,
    direction_letters,
    slice_caption,
    slice_name,
    slice_place,
)
from wetread.dicom.labels import LabelCounts, count_labels
from wetread.dicom.montage import Layout, draw_montage, legend_of, montage_layout
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.results import SegmentationResult

HEADER_ROWS = 44
CAPTIONS = Captions("phantom_ct 1.2.0", "NOT FOR DIAGNOSTIC USE", "wetread 0.1.0, automatic")
TWO = (segment(1, 1), segment(2, 2, "Edema"))
FINE: dict[str, Any] = {"shape": (24, 96, 80), "row_spacing_mm": 2.0, "column_spacing_mm": 1.75}


@dataclass(frozen=True)
class Drawn:
    """A montage with what it shows."""

    result: SegmentationResult
    source: SourceVolume
    counts: LabelCounts
    layout: Layout
    picture: NDArray[np.uint8]

    def slices(self) -> list[tuple[int, NDArray[np.uint8]]]:
        """Each slice number and its picture, (row, column, 3)."""
        width, height = self.layout.picture
        found = []
        for place, number in enumerate(self.layout.slices):
            left, top = np.add(self.layout.corner_of(place), self.layout.inset)
            found.append((number, self.picture[top : top + height, left : left + width]))
        return found


def drawn(
    series: PhantomSeries, result: SegmentationResult, captions: Captions = CAPTIONS
) -> Drawn:
    source = load_volume(received(series))
    counts = count_labels(result, source.shape)
    layout = montage_layout(source, counts)
    return Drawn(result, source, counts, layout, draw_montage(result, source, counts, captions))


@pytest.fixture(scope="module")
def axial(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Two segments; the window of the files tells box, lesion, tissue and bone apart."""
    series = write_series(tmp_path_factory.mktemp("axial"), **FINE)
    set_window(series, ["100", "40"], ["1800", "80"])
    return drawn(series, result_of(two_part_labelmap(series), TWO))


def test_values_are_grey_by_the_window_of_the_files(axial: Drawn) -> None:
    """Centre 100 and width 1800 HU: bone of 700 HU is 212, tissue of 30 HU 117, air 0."""
    for number, picture in axial.slices():
        grey = at_voxels(picture, axial.source)[..., 0]
        values = axial.source.array[number]
        flat = is_flat(values) & (axial.result.labelmap[number] == 0)
        expected = (np.clip(values, -800, 1000) + 800) / 1800 * 255
        assert np.abs(grey[flat] - expected[flat]).max() <= 1.5


def test_right_is_left_and_front_is_up(axial: Drawn) -> None:
    """The box at the patient's right front (240 HU, grey 147) is at the upper left."""
    _, picture = axial.slices()[len(axial.layout.slices) // 2]
    grey = (np.abs(picture.astype(int) - 147) <= 1).all(axis=-1)
    # Without the thin seams between bright and dark, which pass through every grey.
    rows, columns = np.nonzero(~grown(~grey))
    assert len(rows) > 50
    assert columns.max() < picture.shape[1] / 2
    assert rows.max() < picture.shape[0] / 2


def test_each_segment_is_outlined_in_its_colour_and_only_there(axial: Drawn) -> None:
    for number, picture in axial.slices():
        for index, one in enumerate(TWO):
            coloured = (picture == rgb_of_cielab(one.cielab)).all(axis=-1)
            mask = enlarged(axial.result.labelmap[number] == one.label_value, picture)
            assert not (coloured & ~grown(mask)).any()
            assert coloured.any() == bool(axial.counts.counts[index, number])


def test_an_outline_hides_nothing_within(axial: Drawn) -> None:
    """Inside of the border of a segment the anatomy stays grey."""
    number, picture = axial.slices()[len(axial.layout.slices) // 2]
    mask = enlarged(axial.result.labelmap[number] == 1, picture)
    inner = ~grown(~mask, times=4)
    assert inner.sum() > 200
    assert (picture[inner].max(axis=-1) == picture[inner].min(axis=-1)).all()


def test_the_outline_surrounds_the_mask(axial: Drawn) -> None:
    """It spans the mask's rows and columns to a pixel."""
    number, picture = axial.slices()[len(axial.layout.slices) // 2]
    coloured = (picture == rgb_of_cielab(TWO[0].cielab)).all(axis=-1)
    mask = enlarged(axial.result.labelmap[number] == 1, picture)
    for axis in (0, 1):
        ours, theirs = (np.flatnonzero(each.any(axis=axis))[[0, -1]] for each in (coloured, mask))
        assert np.abs(ours - theirs).max() <= 2


def test_ten_slices_with_a_label_are_all_shown(axial: Drawn) -> None:
    labelled = np.flatnonzero((axial.result.labelmap > 0).any(axis=(1, 2)))
    assert list(axial.layout.slices) == list(labelled)


def test_of_many_slices_twelve_are_shown_from_first_to_last(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(60, 24, 20), slice_spacing_mm=2.0, row_spacing_mm=8.0)
    shown = drawn(series, result_of(series.mask())).layout.slices
    labelled = np.flatnonzero(series.mask().any(axis=(1, 2)))
    assert (len(shown), shown[0], shown[-1]) == (12, labelled[0], labelled[-1])
    assert set(np.diff(shown)) <= {2, 3}


def test_an_empty_mask_shows_the_whole_volume_and_says_so(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    empty = drawn(series, result_of(np.zeros(series.shape, np.uint8), TWO))
    assert (empty.layout.slices[0], empty.layout.slices[-1]) == (0, 23)
    assert [text for _, text in legend_of(empty.source, empty.counts)] == [
        "Nothing was segmented: the mask is empty"
    ]
    colours = [rgb_of_cielab(one.cielab) for one in TWO]
    assert not any((empty.picture == colour).all(axis=-1).any() for colour in colours)


def test_the_legend_names_colours_and_millilitres(axial: Drawn) -> None:
    volumes = axial.counts.totals * 5.0 * 2.0 * 1.75 / 1000
    assert legend_of(axial.source, axial.counts) == [
        (rgb_of_cielab(TWO[0].cielab), f"Lesion  {volumes[0]:.1f} mL"),
        (rgb_of_cielab(TWO[1].cielab), f"Edema  {volumes[1]:.1f} mL"),
    ]
    below = axial.picture[HEADER_ROWS + axial.layout.size[1] :]
    for one in TWO:
        assert (below == rgb_of_cielab(one.cielab)).all(axis=-1).sum() == 15 * 15


def test_a_lesion_of_one_voxel_is_neither_invisible_nor_zero(tmp_path: Path) -> None:
    """0.5 × 0.5 × 5 mm on 400 × 400 pixels, shown at 288: 0.0013 mL."""
    series = write_series(tmp_path, shape=(3, 400, 400), row_spacing_mm=0.5, column_spacing_mm=0.5)
    labelmap = np.zeros(series.shape, np.uint8)
    labelmap[1, 201, 133] = 1
    one = drawn(series, result_of(labelmap, TWO))
    assert [text for _, text in legend_of(one.source, one.counts)] == [
        "Lesion  0.0013 mL",
        "Edema  absent",
    ]
    ((_, picture),) = one.slices()
    rows, columns = np.nonzero((picture == rgb_of_cielab(TWO[0].cielab)).all(axis=-1))
    assert (rows.mean(), columns.mean()) == pytest.approx((201 * 0.72, 133 * 0.72), abs=1.5)


LETTERS = {
    "axial": "RLAP",
    "sagittal": "APHF",
    "coronal": "RLHF",
    "feet-first": "LRAP",
    "negated column": "RLPA",
}


@pytest.mark.parametrize("orientation", LETTERS)
@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_letters_say_what_lies_left_right_up_and_down(
    tmp_path: Path, orientation: Any, degrees: float
) -> None:
    series = write_series(
        tmp_path, shape=(4, 9, 9), orientation=orientation, oblique_degrees=degrees
    )
    assert "".join(direction_letters(load_volume(received(series)))) == LETTERS[orientation]


def test_letters_stand_at_the_four_edges_of_a_tile(axial: Drawn) -> None:
    width, height = axial.layout.tile
    left, top = axial.layout.corner_of(0)
    amber = (axial.picture[top : top + height, left : left + width] == AMBER).all(axis=-1)
    edge = 28
    middle_row, middle_column = height // 2, width // 2
    rows = slice(middle_row - edge, middle_row + edge)
    columns = slice(middle_column - edge, middle_column + edge)
    edges = (np.s_[rows, :edge], np.s_[rows, -edge:], np.s_[:edge, columns], np.s_[-edge:, columns])
    assert all(amber[place].any() for place in edges)
    assert sum(amber[place].sum() for place in edges) == amber.sum()


@pytest.mark.parametrize(
    "grid",
    [
        {"row_spacing_mm": 6.0, "column_spacing_mm": 2.0},
        {"row_spacing_mm": 1.0, "column_spacing_mm": 5.0},
        {"shape": (9, 90, 12)},
    ],
)
def test_millimetres_are_square(tmp_path: Path, grid: dict[str, Any]) -> None:
    series = write_series(tmp_path, **grid)
    width, height = drawn(series, result_of(series.mask())).layout.picture
    _, rows, columns = series.shape
    rows_mm = rows * np.linalg.norm(series.affine[:3, 1])
    columns_mm = columns * np.linalg.norm(series.affine[:3, 2])
    assert max(width, height) == 288
    assert width / height == pytest.approx(columns_mm / rows_mm, rel=0.02)


def test_a_slice_is_called_as_viewers_call_it(tmp_path: Path) -> None:
    """By Instance Number, which need not run as the slices do; else by its place."""
    series = write_series(tmp_path / "classic", shape=(4, 9, 9), reversed_order=True)
    source = load_volume(received(series))
    assert [slice_name(source, n) for n in (0, 3)] == ["image 4", "image 1"]
    del source.instances[0].InstanceNumber
    assert slice_name(source, 0) == "slice 1"
    series = write_series(tmp_path / "e", shape=(4, 9, 9), reversed_order=True, enhanced=True)
    assert slice_name(load_volume(received(series)), 0) == "frame 4"


@pytest.mark.parametrize(
    ("orientation", "axis", "letters"),
    [("axial", 2, "FH"), ("coronal", 1, "AP"), ("sagittal", 0, "RL")],
)
@pytest.mark.parametrize("side", [-60.0, 60.0])
def test_a_slice_says_on_which_side_it_lies(
    tmp_path: Path, orientation: Any, axis: int, letters: str, side: float
) -> None:
    """By the header alone: Image Position (Patient) of its own file."""
    centre = [0.0, 0.0, 0.0]
    centre[axis] = side
    series = write_series(
        tmp_path, shape=(6, 9, 9), orientation=orientation, centre=(centre[0], centre[1], centre[2])
    )
    source = load_volume(received(series))
    for number in range(6):
        header, _ = source.instance_of(number)
        place = float(header.ImagePositionPatient[axis])
        letter = letters[int(place > 0)]
        assert slice_place(source, number) == f"{letter} {abs(place):.0f} mm"
        assert letter == letters[int(side > 0)]
        name = slice_name(source, number)
        assert slice_caption(source, number) == f"{letter} {abs(place):.0f} mm\n{name}"


def test_without_a_window_ct_is_shown_as_soft_tissue(tmp_path: Path) -> None:
    """-160 to 240 HU: tissue of 30 HU is grey 121, the bone white."""
    series = write_series(tmp_path, **FINE)
    ct = drawn(series, result_of(series.mask()))
    number, picture = ct.slices()[4]
    grey, values = at_voxels(picture, ct.source)[..., 0], ct.source.array[number]
    flat = is_flat(values) & (ct.result.labelmap[number] == 0)
    assert np.abs(grey[flat & (values == 30)].astype(int) - 121).max() <= 1
    assert (grey[flat & (values == 700)] == 255).all()


@pytest.mark.parametrize("window", [("", ""), ("40", "0")])
def test_a_window_that_is_none_does_no_harm(tmp_path: Path, window: tuple[str, str]) -> None:
    series = write_series(tmp_path)
    set_window(series, *window)
    assert drawn(series, result_of(series.mask())).picture.std() > 20


def test_a_magnetic_resonance_image_uses_all_greys(tmp_path: Path) -> None:
    series = write_series(tmp_path, modality="MR", **FINE)
    _, picture = drawn(series, result_of(series.mask())).slices()[4]
    assert (picture.min(), picture.max()) == (0, 255)


def test_an_image_of_one_value_is_drawn(tmp_path: Path) -> None:
    series = write_series(
        tmp_path,
        modality="MR",
        shape=(3, 9, 9),
        row_spacing_mm=1.0,
        column_spacing_mm=1.0,
        slice_spacing_mm=1.0,
    )
    assert np.ptp(series.values()) == 0
    labelmap = np.zeros(series.shape, np.uint8)
    labelmap[1, 4, 4] = 1
    assert drawn(series, result_of(labelmap)).layout.slices == (1,)


NARROW: dict[str, Any] = {"shape": (9, 96, 12)}


@pytest.mark.parametrize("grid", [FINE, NARROW, {"shape": (2, 24, 20)}])
def test_the_title_never_runs_into_the_warning(tmp_path: Path, grid: dict[str, Any]) -> None:
    series = write_series(tmp_path, **grid)
    labelmap = np.zeros(series.shape, np.uint8)
    labelmap[0, 4, 4] = 1
    captions = replace(CAPTIONS, title="a_model_with_quite_a_long_name 10.20.30")
    header = drawn(series, result_of(labelmap), captions).picture[:HEADER_ROWS]
    white, amber = (np.flatnonzero((header == c).all(axis=-1).any(axis=0)) for c in (WHITE, AMBER))
    assert white.max() + 5 < amber.min()


@pytest.mark.parametrize("grid", [FINE, NARROW])
def test_nothing_is_cut_off_at_the_right(tmp_path: Path, grid: dict[str, Any]) -> None:
    series = write_series(tmp_path, **grid)
    segments = (segment(1, 1, "A structure with a name as long as sixty-four characters allow.."),)
    captions = replace(CAPTIONS, note="a note " * 12)
    picture = drawn(series, result_of(series.mask(), segments), captions).picture
    assert picture[:, -4:].max() == 0


def test_long_labels_leave_room_for_the_next_column(tmp_path: Path) -> None:
    series = write_series(tmp_path, **FINE)
    names = ("Left inferior frontal gyrus, opercular part", "Spleen")
    segments = tuple(segment(n, n, names[n - 1]) for n in (1, 2))
    two = drawn(series, result_of(two_part_labelmap(series), segments))
    top = HEADER_ROWS + two.layout.size[1]
    square = (two.picture == rgb_of_cielab(segments[1].cielab)).all(axis=-1)
    square[:top] = False
    rows, columns = np.nonzero(square)
    before = two.picture[rows.min() : rows.max() + 1, columns.min() - 10 : columns.min()]
    assert before.max() == 0


def at_voxels(picture: NDArray[np.uint8], source: SourceVolume) -> NDArray[np.uint8]:
    """The picture at the middle of each voxel, (row, column, 3)."""
    _, rows, columns = source.shape
    row = ((np.arange(rows) + 0.5) * picture.shape[0] / rows).astype(int)
    column = ((np.arange(columns) + 0.5) * picture.shape[1] / columns).astype(int)
    return picture[np.ix_(row, column)]


def is_flat(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two voxels around have the same value, and no letter stands."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, 2, mode="edge"), (5, 5))
    flat = windows.max(axis=(2, 3)) == windows.min(axis=(2, 3))
    rows, columns = flat.shape
    free = np.zeros_like(flat)
    free[rows // 8 : -rows // 8, columns // 8 : -columns // 8] = True
    return np.asarray(flat & free)


def enlarged(mask: NDArray[np.bool_], picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Nearest neighbour, by arithmetic."""
    rows, columns = (
        np.arange(size) * old // size for size, old in zip(picture.shape, mask.shape, strict=False)
    )
    return mask[np.ix_(rows, columns)]


def grown(mask: NDArray[np.bool_], times: int = 2) -> NDArray[np.bool_]:
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).any(axis=(2, 3))
    return mask


def set_window(series: PhantomSeries, centre: Any, width: Any) -> None:
    for path in series.paths:
        dataset = dcmread(path)
        dataset.WindowCenter, dataset.WindowWidth = centre, width
        dataset.save_as(path)


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (["L", "F"], ("R", "L", "H", "F")),
        (["R", "F"], ("L", "R", "H", "F")),
        (["P", "FL"], ("A", "P", "HR", "FL")),
        (None, ("", "", "", "")),
        ("L", ("", "", "", "")),
    ],
)
def test_a_projection_has_the_letters_that_it_says_and_no_others(
    orientation: Any, letters: tuple[str, ...]
) -> None:
    """PS3.3 C.7.6.1.1.1: the direction of a row, and that of a column."""
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    header.PatientOrientation = orientation
    affine = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    volume = highdicom.Volume(np.zeros((1, 4, 4), np.float32), affine, "PATIENT")
    assert direction_letters(SourceVolume(volume, (header,))) == letters
