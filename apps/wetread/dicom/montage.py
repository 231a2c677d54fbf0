"""A picture of a segmentation that every viewer can show: slices with coloured outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wetread.dicom.colour import RGB, rgb_of_cielab
from wetread.dicom.drawing import (
    GAP,
    GREY,
    HEADER_HEIGHT,
    LEGEND_LINE,
    LEGEND_SIZE,
    MARGIN,
    NOTE_SIZE,
    TITLE_SIZE,
    WHITE,
    Captions,
    direction_letters,
    draw_header,
    draw_letters,
    font_of,
    outline_of,
    slice_caption,
    window_of,
)
from wetread.dicom.labels import LabelCounts
from wetread.dicom.volume import SourceVolume
from wetread.results import SegmentationResult

COLUMNS, ROWS = 4, 3
TILE_PIXELS, SMALLEST_TILE = 288, 144
LEGEND_INDENT = 22


@dataclass(frozen=True, slots=True)
class Layout:
    """Which slices a montage shows, and where, in pixels.

    `picture` is the (width, height) of each slice, in which millimetres are square; it stands in
    the middle of a `tile`, which has room for the letters.
    """

    slices: tuple[int, ...]
    picture: tuple[int, int]
    tile: tuple[int, int]

    @property
    def columns(self) -> int:
        """Tiles side by side."""
        return min(COLUMNS, len(self.slices))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of all tiles with the gaps around them."""
        rows = -(-len(self.slices) // self.columns)
        width, height = self.tile
        return self.columns * (width + GAP) + GAP, rows * (height + GAP) + GAP

    def corner_of(self, place: int) -> tuple[int, int]:
        """(left, top) of the tile of `slices[place]` on the montage."""
        width, height = self.tile
        row, column = divmod(place, self.columns)
        return GAP + column * (width + GAP), HEADER_HEIGHT + row * (height + GAP)

    @property
    def inset(self) -> tuple[int, int]:
        """(left, top) of the picture in its tile."""
        return (self.tile[0] - self.picture[0]) // 2, (self.tile[1] - self.picture[1]) // 2


def draw_montage(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, captions: Captions
) -> NDArray[np.uint8]:
    """Twelve slices through the mask, or through the whole volume where the mask is empty.

    Slices stand as the source has them, letters name the directions, and a slice is called by its
    Instance Number, as viewers call it, with its side and place. Returns RGB of shape (row, column,
    3).
    """
    layout = montage_layout(source, counts)
    legend = legend_of(source, counts)
    width = _width(layout, legend, captions)
    bottom = HEADER_HEIGHT + layout.size[1]
    legend_rows = -(-len(legend) // _legend_columns(legend, width))
    height = bottom + (legend_rows + 1) * LEGEND_LINE + GAP
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    draw_header(draw, width, captions)
    window = window_of(source, layout.slices)
    for place, number in enumerate(layout.slices):
        tile = _tile(result, source, counts, layout, number, window)
        canvas.paste(tile, layout.corner_of(place))
    _draw_legend(draw, legend, width, bottom)
    draw.text((MARGIN, height - GAP - 4), captions.note, GREY, font_of(NOTE_SIZE), anchor="ls")
    return np.asarray(canvas, np.uint8)


def montage_layout(source: SourceVolume, counts: LabelCounts) -> Layout:
    """Up to twelve slices, evenly spaced from the first with a label to the last."""
    slices, rows, columns = source.shape
    _, between_rows, between_columns = source.spacing_mm
    width, height = columns * between_columns, rows * between_rows
    scale = TILE_PIXELS / max(width, height)
    picture = max(1, round(width * scale)), max(1, round(height * scale))
    tile = max(SMALLEST_TILE, picture[0]), max(SMALLEST_TILE, picture[1])
    first, last = (0, slices - 1)
    if not counts.is_empty:
        first, last = counts.box[0].start, counts.box[0].stop - 1
    count = min(COLUMNS * ROWS, last - first + 1)
    shown = np.unique(np.linspace(first, last, count).round().astype(int))
    return Layout(tuple(int(number) for number in shown), picture, tile)


def _width(layout: Layout, legend: Sequence[tuple[RGB, str]], captions: Captions) -> int:
    """Wide enough for the tiles and for every word."""
    title = font_of(TITLE_SIZE).getlength(f"{captions.title}  {captions.warning}")
    note = font_of(NOTE_SIZE).getlength(captions.note)
    words = max(title, note, _legend_width(legend) - MARGIN)
    return max(layout.size[0], int(words) + 2 * MARGIN + 1)


def _tile(
    result: SegmentationResult,
    source: SourceVolume,
    counts: LabelCounts,
    layout: Layout,
    number: int,
    window: tuple[float, float],
) -> Image.Image:
    low, high = window
    grey = np.clip((source.array[number] - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    slice_ = Image.fromarray(grey).resize(layout.picture, Image.Resampling.BICUBIC)
    pixels = np.array(slice_.convert("RGB"))
    for index, segment in enumerate(counts.segments):
        if counts.counts[index, number]:
            mask = result.mask_of(segment, (number,))
            pixels[outline_of(mask, layout.picture)] = rgb_of_cielab(segment.cielab)
    tile = Image.new("RGB", layout.tile)
    tile.paste(Image.fromarray(pixels), layout.inset)
    letters = direction_letters(source)
    draw_letters(ImageDraw.Draw(tile), letters, layout.tile, slice_caption(source, number))
    return tile


def legend_of(source: SourceVolume, counts: LabelCounts) -> list[tuple[RGB, str]]:
    """The colour of each segment and what stands beside it: label and volume or area."""
    if counts.is_empty:
        return [(GREY, "Nothing was segmented: the mask is empty")]
    return [
        (
            rgb_of_cielab(segment.cielab),
            f"{segment.label}  {source.extent.in_words(int(total))}"
            if total
            else f"{segment.label}  absent",
        )
        for segment, total in zip(counts.segments, counts.totals, strict=True)
    ]


def _legend_width(legend: Sequence[tuple[RGB, str]]) -> int:
    """The width of the widest entry with its square and some space after it."""
    font = font_of(LEGEND_SIZE)
    return LEGEND_INDENT + round(max(font.getlength(text) for _, text in legend)) + 3 * MARGIN


def _legend_columns(legend: Sequence[tuple[RGB, str]], width: int) -> int:
    return max(1, (width - MARGIN) // _legend_width(legend))


def _draw_legend(
    draw: ImageDraw.ImageDraw, legend: Sequence[tuple[RGB, str]], width: int, top: int
) -> None:
    columns = _legend_columns(legend, width)
    for place, (colour, text) in enumerate(legend):
        left = MARGIN + place % columns * ((width - MARGIN) // columns)
        middle = top + place // columns * LEGEND_LINE + LEGEND_LINE // 2
        draw.rectangle((left, middle - 7, left + 14, middle + 7), colour)
        draw.text((left + LEGEND_INDENT, middle), text, WHITE, font_of(LEGEND_SIZE), anchor="lm")
