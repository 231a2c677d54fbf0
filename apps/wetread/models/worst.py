"""The worst cases of an evaluation as pictures within a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from wetread.bundle_components.data import Case
from wetread.dicom.planes import DISPLAY, PLANES, Plane
from wetread.errors import ModelContractError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.files import volume_from_nifti, volume_from_picture
from wetread.markup import data_uri, escaped
from wetread.models.classification import ClassifiedCase
from wetread.models.segmentation import CaseScore
from wetread.results import SegmentationResult

# The longest side of the largest slice of a case, and of a picture.
_LONGEST_PIXELS = 320
_OVERSAMPLED = 2
# What is shown around label and result.
_MARGIN_MM = 15.0
_PERCENTILES = (1.0, 99.5)
# Of a subject: what is true, and not an image of its own.
_LABELS = "labels.nii.gz"
_BARS_MM = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0)

STYLE = """
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,210px),1fr));gap:8px}
figure{margin:0}.case{break-inside:avoid}
.pictures figure{background:#000;display:flex;flex-direction:column}
.pictures figcaption{font-size:12px;color:#b3bcc4;padding:4px 8px;overflow-wrap:anywhere}
.pictures svg,.pictures img{margin:auto;max-width:100%;height:auto}
.pictures text{font:600 13px system-ui,sans-serif;fill:#fff;stroke:#000;stroke-width:3px;
paint-order:stroke}
.outline{fill:none;stroke-width:2;stroke-linejoin:round}
.outline.of-label{stroke:#ffb040}.outline.of-result{stroke:#5cc8ff;stroke-dasharray:5 4}
.scale{stroke:#fff;stroke-width:2}.scale.under{stroke:#000;stroke-width:6}
.legend{display:inline-block;vertical-align:middle;background:#000;margin:0 4px 0 12px}
"""
LEGEND = (
    '<p>Outlines:<svg class="legend" width="36" height="16" aria-hidden="true">'
    '<path class="outline of-label" d="M3 8H33"/></svg>the label, solid'
    '<svg class="legend" width="36" height="16" aria-hidden="true">'
    '<path class="outline of-result" d="M3 8H33"/></svg>the result, dashed. In each plane the '
    "slice in which most voxels differ.</p>"
)


def segmentation_pictures(model: BundleModel, case: Case, score: CaseScore) -> str:
    """Three slices of one case through where label and result differ most, with both outlines.

    The case is read once more. Raises as `BundleModel.read`.
    """
    image, label = (volume_from_nifti(Path(case[key])) for key in ("image", "label"))
    found = model.read(image, no_progress)
    if not isinstance(found, SegmentationResult):
        raise ModelContractError(
            f"{model.name} classifies, so there is no mask to draw",
            hint="evaluate it on a folder with a labels.csv",
        )
    truth = np.rint(np.asarray(label.array)).astype(found.labelmap.dtype)
    shown, *masks = (
        volume.to_patient_orientation(DISPLAY)
        for volume in (image, image.with_array(truth), image.with_array(found.labelmap))
    )
    figures = "".join(_slices(shown, *(np.asarray(mask.array) for mask in masks)))
    lines = ", ".join(
        f"{name} Dice {segment.dice:.3f}, "
        f"{segment.volume_ml:.2f} mL where the label has {segment.reference_ml:.2f} mL"
        for name, segment in score.segments.items()
    )
    return (
        f'<div class="case"><h3>{escaped(score.case)}: Dice {score.mean_dice:.3f}</h3>'
        f'<p>{escaped(lines)}</p><div class="pictures">{figures}</div></div>'
    )


_Labels = NDArray[np.integer]


def _slices(shown: highdicom.Volume, truth: _Labels, found: _Labels) -> Iterator[str]:
    box = _box(shown, (truth > 0) | (found > 0))
    grey = _grey(np.asarray(shown.array)[box])
    truth, found = truth[box], found[box]
    scale = _LONGEST_PIXELS / max(np.multiply(grey.shape, shown.spacing))
    differs = truth != found
    for plane in PLANES:
        counts = differs.sum(axis=plane.within)
        index = int(counts.argmax())
        start = box[plane.axis].start
        caption = (
            f"{plane.name} {plane.place(start + index, shown)}, {int(counts[index])} voxels differ"
        )
        steps = tuple(shown.spacing[axis] * scale for axis in plane.within)
        sheets = [np.take(each, index, plane.axis) for each in (grey, truth, found)]
        yield _slice(plane, caption, sheets, steps, scale)


def _box(shown: highdicom.Volume, mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The mask with a margin; everything if there is none."""
    if not mask.any():
        mask = np.ones_like(mask)
    first, second, third = (
        _reach(np.asarray(mask.any(axis=plane.within)), _MARGIN_MM / shown.spacing[plane.axis])
        for plane in PLANES
    )
    return first, second, third


def _reach(inside: NDArray[np.bool_], margin: float) -> slice:
    places, more = np.flatnonzero(inside), round(margin)
    return slice(max(0, int(places[0]) - more), min(len(inside), int(places[-1]) + more + 1))


def _grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = np.percentile(values, _PERCENTILES)
    grey = np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255)
    return np.asarray(grey, np.uint8)


def _slice(
    plane: Plane,
    caption: str,
    sheets: Sequence[NDArray[Any]],
    steps: tuple[float, ...],
    scale: float,
) -> str:
    """Grey values, label and result of one slice; a voxel has `steps` pixels, a mm `scale`."""
    grey, truth, found = sheets
    height, width = (round(size * step, 1) for size, step in zip(grey.shape, steps, strict=True))
    size = (round(width * _OVERSAMPLED), round(height * _OVERSAMPLED))
    picture = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    middle, left, right = height / 2, *plane.sides
    extent = f'width="{width}" height="{height}"'
    top, bottom = plane.ends
    return (
        f'<figure><svg role="img" aria-label="{escaped(caption)}" {extent} '
        f'viewBox="0 0 {width} {height}"><image href="{data_uri(picture)}" {extent}/>'
        f'<path class="outline of-label" d="{_outlines(truth, steps)}"/>'
        f'<path class="outline of-result" d="{_outlines(found, steps)}"/>'
        f'<text x="5" y="{middle}">{left}</text>'
        f'<text x="{width - 5}" y="{middle}" text-anchor="end">{right}</text>'
        f'<text x="{width / 2}" y="15" text-anchor="middle">{top}</text>'
        f'<text x="{width / 2}" y="{height - 5}" text-anchor="middle">{bottom}</text>'
        f"{_scale_bar(width, height, scale)}</svg>"
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def _outlines(labels: _Labels, steps: tuple[float, ...]) -> str:
    """The border of every label value as an SVG path; the corner of the first voxel is (0, 0)."""
    paths = []
    for value in np.unique(labels[labels > 0]):
        padded = np.pad(labels == value, 1).astype(np.float32)
        for contour in find_contours(padded, 0.5):
            # Undo the padding by one, then move from voxel centres to corners by one half.
            places = (contour - 0.5) * steps
            paths.append("M" + " ".join(f"{column:.1f},{row:.1f}" for row, column in places) + "Z")
    return "".join(paths)


def _scale_bar(width: float, height: float, scale: float) -> str:
    """A bar of a round length of at most a third of the width, at the lower right."""
    length_mm = next((each for each in _BARS_MM if each * scale <= width / 3), _BARS_MM[-1])
    end = width - 6
    start = round(end - length_mm * scale, 1)
    place = f'x1="{start}" x2="{end}" y1="{height - 6}" y2="{height - 6}"'
    return (
        f'<line class="scale under" {place}/><line class="scale" {place}/>'
        f'<text x="{end}" y="{height - 12}" text-anchor="end">{length_mm:g} mm</text>'
    )


def classified_pictures(folder: Path, cases: Sequence[ClassifiedCase]) -> str:
    """The pictures of some cases, each with its label and what was said.

    Raises InputError if one cannot be read any more.
    """
    return f'<div class="pictures">{"".join(_classified(folder, case) for case in cases)}</div>'


def _shown(path: Path) -> NDArray[np.uint8]:
    """A picture; of a subject's folder the middle axial slices of its images, side by side."""
    if not path.is_dir():
        return _grey(np.asarray(volume_from_picture(path).array)[0])
    images = [file for file in sorted(path.glob("*.nii.gz")) if file.name != _LABELS]
    volumes = [volume_from_nifti(file).to_patient_orientation("HPL") for file in images]
    slices = [np.asarray(volume.array)[len(volume.array) // 2] for volume in volumes]
    return np.hstack([_grey(each) for each in slices if each.shape == slices[0].shape])


def _classified(folder: Path, case: ClassifiedCase) -> str:
    picture = Image.fromarray(_shown(folder / case.file))
    picture.thumbnail((_LONGEST_PIXELS, _LONGEST_PIXELS))
    verdict = "right" if case.said == case.label else "wrong"
    words = (
        f"label {case.label} ({100 * case.probabilities[case.label]:.0f} %), "
        f"said {case.said} ({100 * case.probabilities[case.said]:.0f} %): {verdict}"
    )
    return (
        f'<figure><img alt="{escaped(case.file)}: {escaped(words)}" width="{picture.width}" '
        f'height="{picture.height}" src="{data_uri(np.asarray(picture))}">'
        f"<figcaption>{escaped(case.file)}<br>{escaped(words)}</figcaption></figure>"
    )
