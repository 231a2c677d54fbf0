"""A picture of what an answer rests on: grey slices with a map in colour over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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
    Letters,
    Masks,
    direction_letters,
    draw_header,
    draw_letters,
    font_of,
    letters_of_affine,
    outline_of,
    slice_caption,
    window_of,
)
from wetread.dicom.volume import SourceVolume

Floats = NDArray[np.float32]
NO_LETTERS: Letters = ("", "", "", "")
COLUMNS, MOST_TILES = 4, 12
# A few slices stand twice, without and with the map: nobody should have to guess what is under it.
MOST_PAIRS = 4
LARGE_TILE, MIDDLE_TILE, SMALL_TILE = 512, 320, 288
NARROWEST_TILE = 144
OPACITY = 0.7
BAR_WIDTH = 240
# A single stray pixel must not decide what counts as much.
FULL_PERCENTILE = 99.5
OUTLINE = (90, 230, 120)
_FOR = np.array([(120, 0, 40), (230, 60, 20), (255, 170, 30), (255, 235, 90)], float)
_AGAINST = np.array([(0, 50, 120), (20, 110, 220), (40, 180, 255), (110, 235, 255)], float)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """Grey slices as a picture shows them.

    `array` is (slice, row, column), `window` its values that are black and white, `spacing_mm`
    between slices, rows and columns; `names` has what each slice is called.
    """

    array: Floats
    spacing_mm: tuple[float, float, float]
    window: tuple[float, float]
    letters: Letters
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeatMapWords:
    """What stands under the pictures: the statement that is explained, and what the ends mean."""

    statement: str
    least: str = "speaks against"
    none: str = "no influence"
    most: str = "speaks for"


def backdrop_of(source: SourceVolume) -> Backdrop:
    """The slices of a series, by the names and in the window that it gives them."""
    slices = range(source.shape[0])
    names = tuple(slice_caption(source, number) for number in slices)
    letters = direction_letters(source)
    window = window_of(source, slices)
    return Backdrop(source.array, source.spacing_mm, window, letters, names)


def backdrop_of_volume(volume: highdicom.Volume, *, is_picture: bool = False) -> Backdrop:
    """The slices of a volume that is no DICOM; a picture does not say where the patient lies."""
    array = np.asarray(volume.array, np.float32)
    low, high = (float(value) for value in np.percentile(array, (1.0, 99.5)))
    slices, rows, columns = (float(value) for value in volume.spacing)
    letters = NO_LETTERS if is_picture else letters_of_affine(np.asarray(volume.affine))
    names = tuple("" if is_picture else f"slice {number + 1}" for number in range(len(array)))
    window = (low, max(high, low + 1e-6))
    return Backdrop(array, (slices, rows, columns), window, letters, names)


def slices_to_show(values: Floats) -> tuple[int, ...]:
    """Up to twelve slices of a map (slice, row, column), evenly spaced over where it says much."""
    sizes = np.abs(values).max(axis=(1, 2))
    much = np.flatnonzero(sizes >= 0.25 * sizes.max()) if sizes.max() > 0 else np.arange(len(sizes))
    count = min(MOST_TILES, int(much[-1] - much[0] + 1))
    shown = np.unique(np.linspace(much[0], much[-1], count).round().astype(int))
    return tuple(int(number) for number in shown)


def draw_heat_map(
    maps: Mapping[int, Floats],
    backdrop: Backdrop,
    captions: Captions,
    words: HeatMapWords,
    masks: Mapping[int, Masks] | None = None,
) -> NDArray[np.uint8]:
    """Slices with their maps, RGB of shape (row, column, 3); millimetres are square.

    `maps` has a (row, column) for each slice that is shown; nothing is drawn where a map is 0, and
    opaque where it is largest. Up to four slices stand there without their map, too. `masks` are
    outlined in green.
    """
    shown = tuple(maps)
    limit, signed = _scale(maps.values())
    picture, tile = _sizes(backdrop, len(shown))
    plain = [_tile(backdrop, number, picture, tile) for number in shown]
    mapped = [
        _tile(backdrop, number, picture, tile, maps[number] / limit, (masks or {}).get(number))
        for number in shown
    ]
    tiles = [*plain, *mapped] if len(shown) <= MOST_PAIRS else mapped
    columns = 2 if len(shown) == 1 else min(COLUMNS, len(shown))
    return _arranged(tiles, columns, captions, words, limit if signed else 0.0, limit)


def _scale(maps: Iterable[Floats]) -> tuple[float, bool]:
    """What is drawn opaque, and whether there is anything below 0 to be seen."""
    values = np.concatenate([np.ravel(each) for each in maps])
    sizes = np.abs(values)
    limit = float(np.percentile(sizes, FULL_PERCENTILE)) or float(sizes.max()) or 1.0
    return limit, bool(values.min() < -0.02 * limit)


def _sizes(backdrop: Backdrop, count: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of each picture, and of its tile, which has room for the letters."""
    _, rows, columns = backdrop.array.shape
    width, height = columns * backdrop.spacing_mm[2], rows * backdrop.spacing_mm[1]
    longest = LARGE_TILE if count == 1 else MIDDLE_TILE if count <= MOST_PAIRS else SMALL_TILE
    scale = longest / max(width, height)
    picture = max(1, round(width * scale)), max(1, round(height * scale))
    return picture, (max(NARROWEST_TILE, picture[0]), max(NARROWEST_TILE, picture[1]))


def _tile(
    backdrop: Backdrop,
    number: int,
    picture: tuple[int, int],
    tile: tuple[int, int],
    share: Floats | None = None,
    mask: Masks | None = None,
) -> Image.Image:
    low, high = backdrop.window
    scaled = np.clip((backdrop.array[number] - low) * (255 / (high - low)), 0, 255)
    grey = Image.fromarray(scaled.astype(np.uint8)).resize(picture, Image.Resampling.BICUBIC)
    pixels = np.array(grey.convert("RGB"))
    if share is not None:
        fine = Image.fromarray(np.asarray(share, np.float32)).resize(
            picture, Image.Resampling.BILINEAR
        )
        pixels = blended(pixels, np.asarray(fine))
    if mask is not None and mask.any():
        pixels[outline_of(mask, picture)] = OUTLINE
    canvas = Image.new("RGB", tile)
    inset = (tile[0] - picture[0]) // 2, (tile[1] - picture[1]) // 2
    canvas.paste(Image.fromarray(pixels), inset)
    draw_letters(ImageDraw.Draw(canvas), backdrop.letters, tile, backdrop.names[number])
    return canvas


def blended(grey: NDArray[np.uint8], share: Floats) -> NDArray[np.uint8]:
    """Colours over an RGB picture (row, column, 3); `share` (row, column) is −1 to 1, 0 clear."""
    size = np.clip(np.abs(share), 0.0, 1.0)
    opacity = (OPACITY * size)[..., None]
    mixed = grey * (1 - opacity) + colours(share) * opacity
    return np.asarray(np.clip(mixed.round(), 0, 255), np.uint8)


def colours(share: Floats) -> NDArray[np.float64]:
    """RGB, 0 to 255, of each of −1 (cyan) to 1 (yellow): (…) → (…, 3)."""
    size = np.clip(np.abs(share), 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_FOR))
    above = np.stack([np.interp(size, stops, _FOR[:, each]) for each in range(3)], axis=-1)
    below = np.stack([np.interp(size, stops, _AGAINST[:, each]) for each in range(3)], axis=-1)
    return np.where((np.asarray(share) < 0)[..., None], below, above)


def _arranged(
    tiles: Sequence[Image.Image],
    columns: int,
    captions: Captions,
    words: HeatMapWords,
    lowest: float,
    highest: float,
) -> NDArray[np.uint8]:
    tile_width, tile_height = tiles[0].size
    title = font_of(TITLE_SIZE).getlength(f"{captions.title}  {captions.warning}")
    note = font_of(NOTE_SIZE).getlength(captions.note)
    statement = font_of(LEGEND_SIZE).getlength(words.statement)
    wide = columns * (tile_width + GAP) + GAP
    width = max(wide, int(max(title, note, statement, 3 * BAR_WIDTH)) + 2 * MARGIN + 1)
    bottom = HEADER_HEIGHT + -(-len(tiles) // columns) * (tile_height + GAP) + GAP
    canvas = Image.new("RGB", (width, bottom + 3 * LEGEND_LINE + GAP))
    draw = ImageDraw.Draw(canvas)
    draw_header(draw, width, captions)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        left = (width - wide) // 2 + GAP + column * (tile_width + GAP)
        canvas.paste(tile, (left, HEADER_HEIGHT + row * (tile_height + GAP)))
    middle = bottom + LEGEND_LINE // 2
    draw.text((MARGIN, middle), words.statement, WHITE, font_of(LEGEND_SIZE), anchor="lm")
    _draw_bar(canvas, bottom + LEGEND_LINE, words, lowest, highest)
    low = canvas.height - GAP - 4
    draw.text((MARGIN, low), captions.note, GREY, font_of(NOTE_SIZE), anchor="ls")
    return np.asarray(canvas, np.uint8)


def _draw_bar(
    canvas: Image.Image, top: int, words: HeatMapWords, lowest: float, highest: float
) -> None:
    """The colours over black, as on the darkest image, with what their ends mean."""
    draw = ImageDraw.Draw(canvas)
    font = font_of(NOTE_SIZE)
    start = words.none if lowest == 0 else f"{words.least} (-{lowest:.2g})"
    middle = top + LEGEND_LINE // 2
    draw.text((MARGIN, middle), start, WHITE, font, anchor="lm")
    left = MARGIN + round(font.getlength(start)) + MARGIN
    share = np.linspace(-1.0 if lowest else 0.0, 1.0, BAR_WIDTH, dtype=np.float32)
    grey = np.full((LEGEND_LINE - 12, BAR_WIDTH, 3), 70, np.uint8)
    bar = blended(grey, np.broadcast_to(share, grey.shape[:2]).copy())
    canvas.paste(Image.fromarray(bar), (left, top + 6))
    end = f"{words.most} ({highest:.2g})"
    draw.text((left + BAR_WIDTH + MARGIN, middle), end, WHITE, font, anchor="lm")
