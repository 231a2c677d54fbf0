"""The page of a reading: one file that needs no other, and says what the result says."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from phantom import PhantomSeries, write_series
from wetread.errors import StorageError
from wetread.page import PageFacts, write_page

OUTLINE = (255, 176, 64)


class Reader(HTMLParser):
    """Everything that a browser would load, and the text that a person sees."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.captions: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.sources += [str(named[key]) for key in ("src", "href") if key in named]
        if tag == "img":
            self.sizes.append((int(named["width"] or 0), int(named["height"] or 0)))
            self.captions.append(str(named["alt"]))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def pixels(self, index: int) -> NDArray[np.uint8]:
        content = base64.b64decode(self.sources[index].removeprefix("data:image/png;base64,"))
        return np.asarray(Image.open(io.BytesIO(content)))


def facts(title: str = "a reading", volumes_ml: Mapping[str, float] | None = None) -> PageFacts:
    return PageFacts(
        title=title,
        model="brain 1.0.0",
        volumes_ml={"Brain": 1956.44} if volumes_ml is None else volumes_ml,
        seconds={"load": 0.25, "forward": 1.5},
        files=[("SEG", Path("out/SEG.dcm"))],
    )


def volumes(series: PhantomSeries, *, empty: bool = False) -> tuple[highdicom.Volume, ...]:
    mask = series.mask() * (0 if empty else 1)
    return tuple(
        highdicom.Volume(array, series.affine, coordinate_system="PATIENT")
        for array in (series.values(), mask)
    )


def page(
    path: Path, series: PhantomSeries, page_facts: PageFacts, *, empty: bool = False
) -> Reader:
    volume, mask = volumes(series, empty=empty)
    write_page(path, volume, mask, page_facts)
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


@pytest.fixture
def series(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "study", orientation="sagittal", oblique_degrees=8)


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path, series: PhantomSeries) -> None:
    reader = page(tmp_path / "page.html", series, facts())
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(reader.sources) == 9
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)


def test_the_numbers_are_those_of_the_result(tmp_path: Path, series: PhantomSeries) -> None:
    shown = page(tmp_path / "page.html", series, facts()).text
    lines = ("Brain", "1956.4 mL", "0.25", "1.50", "1.75", "out/SEG.dcm", "Not for diagnostic use")
    assert set(lines) <= set(shown.split("\n"))
    assert "brain 1.0.0" in shown


def test_text_of_others_is_text_not_markup(tmp_path: Path, series: PhantomSeries) -> None:
    evil = "<script>alert('Müller & Söhne')</script>"
    reader = page(tmp_path / "page.html", series, facts(evil, {evil: 1.0}))
    assert reader.text.count(evil) == 3
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_nothing_found_is_said_and_nothing_drawn(tmp_path: Path, series: PhantomSeries) -> None:
    reader = page(tmp_path / "page.html", series, facts(volumes_ml={}), empty=True)
    assert "Nothing was found." in reader.text
    assert not any((reader.pixels(index) == OUTLINE).all(axis=2).any() for index in range(9))


def test_every_plane_is_drawn_at_one_scale(tmp_path: Path) -> None:
    """100 mm wide, 60 mm deep, 40 mm high, whatever the spacing."""
    series = write_series(
        tmp_path / "study",
        shape=(8, 20, 20),
        slice_spacing_mm=5.0,
        row_spacing_mm=3.0,
        column_spacing_mm=5.0,
    )
    sizes = page(tmp_path / "page.html", series, facts()).sizes
    assert sizes == [(340, 204)] * 3 + [(340, 136)] * 3 + [(204, 136)] * 3


def test_the_middle_slices_lie_in_the_middle_of_the_ellipsoid(tmp_path: Path) -> None:
    series = write_series(tmp_path / "study", shape=(64, 64, 64), slice_spacing_mm=2.0,
                          row_spacing_mm=2.0, column_spacing_mm=2.0)  # fmt: skip
    captions = page(tmp_path / "page.html", series, facts()).captions
    found = [re.fullmatch(r"\w+ ([ISAPRL]) ([\d.]+) mm", captions[index]) for index in (7, 4, 1)]
    sides = [1 if match[1] in "SPL" else -1 for match in found if match]
    places_mm = [side * float(match[2]) for side, match in zip(sides, found, strict=True) if match]
    assert places_mm == pytest.approx(series.ellipsoid_centre, abs=2.0)


def test_left_is_on_the_right_and_front_on_the_left(tmp_path: Path) -> None:
    """As a radiologist hangs them: the ellipsoid lies left of and in front of the head's middle."""
    series = write_series(tmp_path / "study", shape=(40, 64, 64))
    reader = page(tmp_path / "page.html", series, facts())
    axial, sagittal = (reader.pixels(index) for index in (1, 7))
    for picture, above, beside in ((axial, True, True), (sagittal, True, False)):
        rows, columns = np.nonzero((picture == OUTLINE).all(axis=2))
        middle_row, middle_column = (size / 2 for size in picture.shape[:2])
        assert bool(rows.mean() < middle_row) == above
        assert bool(columns.mean() > middle_column) == beside


def test_a_page_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, series: PhantomSeries
) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        page(tmp_path / "page.html", series, facts())
