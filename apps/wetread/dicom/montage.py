"""A picture of a segmentation that every viewer can show: slices with coloured outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wetread.dicom.colour import RGB, rgb_of_cielab
from wetread.dicom.labels import LabelCounts
from wetread.dicom.volume import SourceVolume
from wetread.results import SegmentationResult

COLUMNS, ROWS = 4, 3
TILE_PIXELS = 288
GAP = 4
HEADER_HEIGHT, LEGEND_LINE = 44, 28
OUTLINE_PIXELS = 2
WHITE, GREY, AMBER = (235, 235, 235), (150, 150, 150), (255, 191, 0)
LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
CT_WINDOW = (40.0, 400.0)
Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a montage."""

    title: str
    warning: str
    note: str


@dataclass(frozen=True, slots=True)
class Tiles:
    """How large a tile is in pixels, so that millimetres are square, and which slices are shown."""

    width: int
    height: int
    slices: tuple[int, ...]


def draw_montage(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, captions: Captions
) -> NDArray[np.uint8]:
    """Twelve slices through the mask, or through the whole volume where the mask is empty.

    Slices stand as the source has them, pixels are square in mm, letters name the directions.
    Returns RGB of shape (row, column, 3).
    """
    tiles = _tiles(source, counts)
    legend = _legend(source, counts)
    width = COLUMNS * (tiles.width + GAP) + GAP
    rows = -(-len(tiles.slices) // COLUMNS)
    grid_bottom = HEADER_HEIGHT + rows * (tiles.height + GAP) + GAP
    legend_rows = -(-len(legend) // _legend_columns(width))
    height = grid_bottom + (legend_rows + 1) * LEGEND_LINE + GAP
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, width, captions)
    low, high = _window(source, tiles.slices)
    for place, number in enumerate(tiles.slices):
        corner = (
            GAP + place % COLUMNS * (tiles.width + GAP),
            HEADER_HEIGHT + place // COLUMNS * (tiles.height + GAP),
        )
        tile = _tile(result, source, counts, tiles, number, (low, high))
        canvas.paste(tile, corner)
    _draw_legend(draw, legend, width, grid_bottom)
    draw.text((GAP + 6, height - GAP - 4), captions.note, GREY, _font(15), anchor="ls")
    return np.asarray(canvas, np.uint8)


def _tiles(source: SourceVolume, counts: LabelCounts) -> Tiles:
    slices, rows, columns = source.shape
    _, between_rows, between_columns = source.spacing_mm
    width, height = columns * between_columns, rows * between_rows
    scale = TILE_PIXELS / max(width, height)
    # A thin stack seen from the side must still have room for its letters.
    size = max(96, round(width * scale)), max(96, round(height * scale))
    first, last = (0, slices - 1)
    if not counts.is_empty:
        first, last = counts.box[0].start, counts.box[0].stop - 1
    count = min(COLUMNS * ROWS, last - first + 1)
    shown = np.unique(np.linspace(first, last, count).round().astype(int))
    return Tiles(*size, tuple(int(number) for number in shown))


def _window(source: SourceVolume, slices: Sequence[int]) -> tuple[float, float]:
    """Lowest and highest value shown: the source's own window for CT, else by its values."""
    if source.modality == "CT":
        header, _ = source.instance_of(slices[len(slices) // 2])
        centre, width = (
            _first(header.get(keyword), default)
            for keyword, default in zip(("WindowCenter", "WindowWidth"), CT_WINDOW, strict=True)
        )
        return centre - max(width, 1.0) / 2, centre + max(width, 1.0) / 2
    shown = source.array[list(slices), ::2, ::2]
    low, high = np.percentile(shown, (1.0, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _first(value: object, default: float) -> float:
    if value is None or value == "":
        return default
    try:
        return float(value[0]) if isinstance(value, Sequence) else float(str(value))
    except ValueError:
        return default


def _tile(
    result: SegmentationResult,
    source: SourceVolume,
    counts: LabelCounts,
    tiles: Tiles,
    number: int,
    window: tuple[float, float],
) -> Image.Image:
    low, high = window
    grey = np.clip((source.array[number] - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    size = (tiles.width, tiles.height)
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    pixels = np.array(picture)
    for index, segment in enumerate(counts.segments):
        if counts.counts[index, number]:
            mask = result.labelmap[number] == segment.label_value
            pixels[_outline(mask, size)] = rgb_of_cielab(segment.cielab)
    tile = Image.fromarray(pixels)
    _draw_letters(ImageDraw.Draw(tile), source, tiles, f"{number + 1}/{source.shape[0]}")
    return tile


def _outline(mask: Masks, size: tuple[int, int]) -> Masks:
    """The border of a mask enlarged to `size` (width, height), a few pixels inside of it."""
    grown = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(grown) >= 128
    core = inside
    for _ in range(OUTLINE_PIXELS):
        core = _eroded(core)
    return np.asarray(inside & ~core)


def _eroded(mask: Masks) -> Masks:
    padded = np.pad(mask, 1)
    return np.asarray(
        mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )


def direction_letters(source: SourceVolume) -> tuple[str, str, str, str]:
    """What lies at the left, right, top and bottom edge of a slice: R, L, A, P, H or F."""
    right, bottom = source.affine[:3, 2], source.affine[:3, 1]
    return _letter(-right), _letter(right), _letter(-bottom), _letter(bottom)


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] > 0)]


def _draw_letters(
    draw: ImageDraw.ImageDraw, source: SourceVolume, tiles: Tiles, caption: str
) -> None:
    left, right, top, bottom = direction_letters(source)
    width, height = tiles.width, tiles.height
    places = (
        ((6, height / 2), left, "lm"),
        ((width - 6, height / 2), right, "rm"),
        ((width / 2, 4), top, "mt"),
        ((width / 2, height - 4), bottom, "mb"),
    )
    for place, letter, anchor in places:
        _text(draw, place, letter, AMBER, 18, anchor)
    _text(draw, (6, height - 5), caption, WHITE, 13, "lb")


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: RGB,
    size: int,
    anchor: str,
) -> None:
    # The black edge keeps letters legible over bright bone.
    draw.text(
        place, text, colour, _font(size), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
    )


def _draw_header(draw: ImageDraw.ImageDraw, width: int, captions: Captions) -> None:
    middle = HEADER_HEIGHT / 2
    draw.text((GAP + 6, middle), captions.title, WHITE, _font(20), anchor="lm")
    draw.text((width - GAP - 6, middle), captions.warning, AMBER, _font(20), anchor="rm")


def _legend(source: SourceVolume, counts: LabelCounts) -> list[tuple[RGB, str]]:
    if counts.is_empty:
        return [(GREY, "Nothing was segmented: the mask is empty")]
    return [
        (
            rgb_of_cielab(segment.cielab),
            f"{segment.label}  {total * source.voxel_ml:.1f} mL"
            if total
            else f"{segment.label}  absent",
        )
        for segment, total in zip(counts.segments, counts.totals, strict=True)
    ]


def _legend_columns(width: int) -> int:
    return max(1, width // 280)


def _draw_legend(
    draw: ImageDraw.ImageDraw, legend: Sequence[tuple[RGB, str]], width: int, top: int
) -> None:
    columns = _legend_columns(width)
    for place, (colour, text) in enumerate(legend):
        left = GAP + 6 + place % columns * (width // columns)
        middle = top + place // columns * LEGEND_LINE + LEGEND_LINE // 2
        draw.rectangle((left, middle - 7, left + 14, middle + 7), colour)
        draw.text((left + 22, middle), text, WHITE, _font(17), anchor="lm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
