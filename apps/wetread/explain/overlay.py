"""The pictures of an explanation: slices with their map, and what a layer makes of an image."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

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
    draw_header,
    font_of,
)
from wetread.dicom.heat_map import (
    Backdrop,
    HeatMapWords,
    draw_heat_map,
    slices_to_show,
)
from wetread.explain.explanation import Explanation

Pixels = NDArray[np.uint8]
MOST_CHANNELS, TILE = 64, 112
# The other methods show what speaks for the target, with or without what speaks against it.
WITHOUT_SIGN = {"saliency"}
# They go from pixel to pixel: the eye sees where they are large only in the mean of some.
BY_PIXEL = {"saliency", "integrated_gradients", "shap"}
_SMOOTHING = 0.015  # of the longest side


def draw_explanation(explanation: Explanation, backdrop: Backdrop, captions: Captions) -> Pixels:
    """The slices on which the answer rests most, RGB of shape (row, column, 3).

    Maps that go from pixel to pixel are smoothed here, and here only.
    """
    places = sorted(explanation.maps)
    values = np.stack([explanation.maps[place] for place in places])
    few = len(places) <= 3
    shown = places if few else [places[number] for number in slices_to_show(values)]
    maps = {place: _shown(explanation.maps[place], explanation.method) for place in shown}
    masks = None
    if explanation.masks is not None:
        masks = {place: explanation.masks[place] for place in shown}
    return draw_heat_map(maps, backdrop, captions, _words(explanation), masks)


def _shown(values: NDArray[np.float32], method: str) -> NDArray[np.float32]:
    if method not in BY_PIXEL:
        return values
    return np.asarray(gaussian_filter(values, _SMOOTHING * max(values.shape)), np.float32)


def _words(explanation: Explanation) -> HeatMapWords:
    statement = explanation.statement
    if explanation.method in BY_PIXEL:
        statement += ", smoothed"
    measured = explanation.faithfulness
    if measured is not None:
        statement += (
            f"; deletion {measured.deletion.auc:.2f} (chance {measured.random_deletion.auc:.2f}), "
            f"insertion {measured.insertion.auc:.2f} (chance {measured.random_insertion.auc:.2f})"
        )
    if explanation.method in WITHOUT_SIGN:
        return HeatMapWords(statement, most="most influence")
    return HeatMapWords(statement)


def draw_feature_maps(layer: str, activations: NDArray[np.float32], captions: Captions) -> Pixels:
    """What each channel of a layer gives, (channel, *spatial), as a grid of grey pictures.

    At most 64 channels, those that differ most over the image; of a volume the slice, along its
    first axis, in which the layer is most active. Each is shown from its lowest value to its
    highest, in the network's own axes. RGB of shape (row, column, 3).
    """
    flat = _one_slice(activations)
    spread = flat.reshape(len(flat), -1).std(axis=1)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:MOST_CHANNELS])
    columns = math.ceil(math.sqrt(len(chosen)))
    size = " by ".join(str(length) for length in flat.shape[1:])
    words = f"{layer}: {len(chosen)} of {len(flat)} channels, {size}"
    title = font_of(TITLE_SIZE).getlength(f"{captions.title}  {captions.warning}")
    longest = max(title, font_of(LEGEND_SIZE).getlength(words), _note_length(captions))
    width = max(columns * (TILE + GAP) + GAP, int(longest) + 2 * MARGIN + 1)
    bottom = HEADER_HEIGHT + math.ceil(len(chosen) / columns) * (TILE + GAP) + GAP
    canvas = Image.new("RGB", (width, bottom + 2 * LEGEND_LINE))
    draw = ImageDraw.Draw(canvas)
    draw_header(draw, width, captions)
    for place, channel in enumerate(chosen):
        row, column = divmod(place, columns)
        corner = GAP + column * (TILE + GAP), HEADER_HEIGHT + row * (TILE + GAP)
        canvas.paste(_grey_tile(flat[channel]), corner)
    middle = bottom + LEGEND_LINE // 2
    draw.text((MARGIN, middle), words, WHITE, font_of(LEGEND_SIZE), anchor="lm")
    below = (MARGIN, middle + LEGEND_LINE)
    draw.text(below, captions.note, GREY, font_of(NOTE_SIZE), anchor="lm")
    return np.asarray(canvas, np.uint8)


def png_bytes(pixels: Pixels) -> bytes:
    """An RGB picture (row, column, 3) as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _note_length(captions: Captions) -> float:
    return float(font_of(NOTE_SIZE).getlength(captions.note))


def _one_slice(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    if activations.ndim < 4:
        return activations
    busiest = int(np.abs(activations).sum(axis=(0, 2, 3)).argmax())
    return activations[:, busiest]


def _grey_tile(values: NDArray[np.float32]) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    grey = (values - low) * (255 / max(high - low, 1e-12))
    rows, columns = values.shape
    scale = TILE / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    picture = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    tile = Image.new("L", (TILE, TILE))
    tile.paste(picture, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile
