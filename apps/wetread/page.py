"""One self-contained HTML page on one reading: three planes with the mask, volumes, seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wetread.dicom.planes import DISPLAY, PLANES, Plane
from wetread.files import write_atomically
from wetread.markup import NOT_FOR_DIAGNOSIS, data_uri, document, escaped, facts_table
from wetread.results import in_millilitres

_SHARES = (0.35, 0.5, 0.65)
# The longest side of the volume; everything else is drawn at the same scale.
_LONGEST_PIXELS = 340
_OVERSAMPLED = 2
_OUTLINE = (255, 176, 64)

_STYLE = """
.planes{display:grid;grid-template-columns:repeat(3,1fr);gap:8px}
figure{margin:0;position:relative;background:#000;display:flex;flex-direction:column}
figure img{margin:auto;max-width:100%}
figcaption{font-size:12px;color:#9aa4ad;padding:2px 6px}
.side{position:absolute;top:46%;font-weight:600;color:#fff;text-shadow:0 0 3px #000}
.side.a{left:6px}.side.b{right:6px}
"""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the page says beside the pictures."""

    title: str
    model: str
    volumes_ml: Mapping[str, float]
    seconds: Mapping[str, float]
    files: Sequence[tuple[str, Path]]


def write_page(
    path: Path, volume: highdicom.Volume, mask: highdicom.Volume, facts: PageFacts
) -> None:
    """Write the page. `volume` and `mask` lie on one grid; a value above 0 in `mask` is drawn.

    Raises StorageError if the file cannot be written.
    """
    figures = "".join(_figures(volume, mask))
    body = (
        f"<h1>{escaped(facts.title)}</h1>"
        f'<p>{escaped(facts.model)} · <span class="note">{NOT_FOR_DIAGNOSIS}</span></p>'
        f"<h2>Volumes</h2>{_volumes(facts.volumes_ml)}"
        f'<h2>Slices</h2><div class="planes">{figures}</div>'
        f"<h2>Seconds</h2>{_bars(facts.seconds)}"
        f"<h2>Objects at the destination</h2>"
        f"{facts_table((kind, str(file)) for kind, file in facts.files)}"
    )
    text = document(facts.title, [body], _STYLE)
    write_atomically(path, [text.encode("utf-8")])


def _volumes(volumes_ml: Mapping[str, float]) -> str:
    if not volumes_ml:
        return "<p>Nothing was found.</p>"
    return facts_table((name, in_millilitres(ml)) for name, ml in volumes_ml.items())


def _bars(seconds: Mapping[str, float]) -> str:
    longest = max(seconds.values(), default=1.0) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escaped(stage)}</th><td>'
        f'<span class="bar" style="width:{max(1, round(320 * value / longest))}px"></span>'
        f"{value:.2f}</td></tr>"
        for stage, value in seconds.items()
    )
    total = f"{sum(seconds.values()):.2f}"
    return f'<table>{rows}<tr><th scope="row">sum</th><td>{total}</td></tr></table>'


def _figures(volume: highdicom.Volume, mask: highdicom.Volume) -> list[str]:
    shown = volume.to_patient_orientation(DISPLAY)
    drawn = np.asarray(mask.to_patient_orientation(DISPLAY).array) > 0
    array = np.asarray(shown.array)
    low, high = np.percentile(array[::2, ::2, ::2], (1.0, 99.5))
    grey = np.clip((array - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    found = [np.flatnonzero(drawn.any(axis=plane.within)) for plane in PLANES]
    longest_mm = max(size * mm for size, mm in zip(array.shape, shown.spacing, strict=True))
    figures = []
    for plane in PLANES:
        axis = plane.axis
        inside = found[axis] if found[axis].size else np.arange(array.shape[axis])
        scale = [shown.spacing[other] * _LONGEST_PIXELS / longest_mm for other in plane.within]
        for share in _SHARES:
            index = int(inside[round(share * (inside.size - 1))])
            picture, outlined = np.take(grey, index, axis), np.take(drawn, index, axis)
            caption = f"{plane.name} {plane.place(index, shown)}"
            figures.append(_figure(plane, caption, picture, outlined, scale))
    return figures


def _figure(
    plane: Plane,
    caption: str,
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    scale: Sequence[float],
) -> str:
    height, width = (
        max(1, round(size * pixels)) for size, pixels in zip(picture.shape, scale, strict=True)
    )
    size = (width * _OVERSAMPLED, height * _OVERSAMPLED)
    pixels = np.array(
        Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    )
    grown = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(grown) >= 128
    pixels[_border(inside)] = _OUTLINE
    left, right = plane.sides
    return (
        f'<figure><img alt="{caption}" width="{width}" height="{height}" src="{data_uri(pixels)}">'
        f'<span class="side a">{left}</span><span class="side b">{right}</span>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _border(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(inside, 2)
    core = padded[:-4, 2:-2] & padded[4:, 2:-2] & padded[2:-2, :-4] & padded[2:-2, 4:]
    return inside & ~core
