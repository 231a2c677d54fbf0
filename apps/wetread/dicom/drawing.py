"""What every picture of ours is drawn with: words, letters of direction, windows and outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wetread.dicom.colour import RGB
from wetread.dicom.volume import SourceVolume

GAP, MARGIN = 4, 10
HEADER_HEIGHT, LEGEND_LINE = 44, 28
TITLE_SIZE, LEGEND_SIZE, NOTE_SIZE = 20, 17, 15
CAPTION_SIZE, CAPTION_LINE = 13, 15
OUTLINE_PIXELS = 2
WHITE, GREY, AMBER = (235, 235, 235), (150, 150, 150), (255, 191, 0)
LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
CT_WINDOW = (40.0, 400.0)
Masks = NDArray[np.bool_]
Letters = tuple[str, str, str, str]
"""What lies at the left, right, top and bottom edge; empty where it is not known."""
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "F": "H", "H": "F"}


@dataclass(frozen=True, slots=True)
class Captions:
    """The words around a picture."""

    title: str
    warning: str
    note: str


def draw_header(draw: ImageDraw.ImageDraw, width: int, captions: Captions) -> None:
    """Title and warning on the first line of a picture of that width."""
    middle = HEADER_HEIGHT / 2
    font = font_of(TITLE_SIZE)
    draw.text((MARGIN, middle), captions.title, WHITE, font, anchor="lm")
    draw.text((width - MARGIN, middle), captions.warning, AMBER, font, anchor="rm")


def draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: RGB,
    size: int,
    anchor: str,
) -> None:
    """Words on top of an image."""
    # The black edge keeps letters legible over bright bone.
    draw.text(
        place, text, colour, font_of(size), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
    )


def draw_letters(
    draw: ImageDraw.ImageDraw, letters: Letters, tile: tuple[int, int], caption: str
) -> None:
    """Letters at the edges of a tile (width, height), and a caption of one line or more."""
    left, right, top, bottom = letters
    width, height = tile
    places = (
        ((6, height / 2), left, "lm"),
        ((width - 6, height / 2), right, "rm"),
        ((width / 2, 4), top, "mt"),
        ((width / 2, height - 4), bottom, "mb"),
    )
    for place, letter, anchor in places:
        draw_text(draw, place, letter, AMBER, 18, anchor)
    for index, line in enumerate(reversed(caption.splitlines())):
        draw_text(draw, (6, height - 5 - index * CAPTION_LINE), line, WHITE, CAPTION_SIZE, "lb")


def direction_letters(source: SourceVolume) -> Letters:
    """What lies at the edges of a slice: R, L, A, P, H or F.

    A projection has no place in the patient, only what Patient Orientation says of it, if anything
    (PS3.3 C.7.6.1.1.1).
    """
    if source.is_projection:
        return _letters_of_projection(source.instances[0].get("PatientOrientation"))
    return letters_of_affine(source.affine)


def letters_of_affine(affine: NDArray[np.float64]) -> Letters:
    """The same of a grid (slice, row, column) in LPS mm."""
    right, bottom = affine[:3, 2], affine[:3, 1]
    return _letter(-right), _letter(right), _letter(-bottom), _letter(bottom)


def _letters_of_projection(orientation: Sequence[str] | None) -> Letters:
    if not orientation or isinstance(orientation, str) or len(orientation) != 2:
        return "", "", "", ""
    right, bottom = (str(value) for value in orientation)
    left, top = ("".join(OPPOSITE.get(each, "") for each in value) for value in (right, bottom))
    return left, right, top, bottom


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] > 0)]


def slice_name(source: SourceVolume, number: int) -> str:
    """What a viewer calls the slice: Instance Number, or frame number of a multi-frame image."""
    instance, frame = source.instance_of(number)
    if frame is not None:
        return f"frame {frame}"
    if instance.get("InstanceNumber") is not None:
        return f"image {instance.InstanceNumber}"
    return f"slice {number + 1}"


def slice_place(source: SourceVolume, number: int) -> str:
    """Where a slice lies across its own plane, as scanners say it: "R 72 mm".

    That is the coordinate of its middle (PS3.3 C.7.6.2.1.1) along the axis that it lies across
    most; a projection lies nowhere.
    """
    if source.is_projection:
        return ""
    _, rows, columns = source.shape
    middle = source.affine @ (number, (rows - 1) / 2, (columns - 1) / 2, 1)
    axis = int(np.abs(source.affine[:3, 0]).argmax())
    return f"{LETTERS[axis][int(middle[axis] > 0)]} {abs(middle[axis]):.0f} mm"


def slice_caption(source: SourceVolume, number: int) -> str:
    """Where the slice lies, if anywhere, and below that what it is called."""
    return f"{slice_place(source, number)}\n{slice_name(source, number)}".lstrip()


def window_of(source: SourceVolume, slices: Sequence[int]) -> tuple[float, float]:
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


def outline_of(mask: Masks, size: tuple[int, int]) -> Masks:
    """The border of a mask scaled to `size` (width, height), a few pixels inside of it."""
    scaled = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    cover = np.asarray(scaled)
    # A mask of a few voxels on a large image never covers half a pixel, and must still be seen.
    inside: Masks = np.asarray(cover >= min(0.5, cover.max() / 2))
    core = inside
    for _ in range(OUTLINE_PIXELS):
        core = _eroded(core)
    return np.asarray(inside & ~core)


def _eroded(mask: Masks) -> Masks:
    padded = np.pad(mask, 1)
    return np.asarray(
        mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one typeface, in pixels."""
    return ImageFont.load_default(size=size)
