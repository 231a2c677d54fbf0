"""`wetread explain`: why a model says what it says of what lies on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from pydicom import Dataset

from wetread import __version__
from wetread.dicom import terms
from wetread.dicom.attributes import read_study
from wetread.dicom.drawing import Captions
from wetread.dicom.files import find_instances, is_nifti, is_picture, unpacked
from wetread.dicom.heat_map import Backdrop, backdrop_of, backdrop_of_volume
from wetread.dicom.pm import MapWords, build_parametric_map
from wetread.dicom.result_header import file_bytes
from wetread.dicom.sc import CaptureWords, captions_at, captions_of, capture
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.errors import UnsupportedSeriesError
from wetread.explain.explanation import Answer, Explanation, ask, explain
from wetread.explain.layers import feature_maps
from wetread.explain.methods import METHODS, check_method
from wetread.explain.overlay import draw_explanation, draw_feature_maps, png_bytes
from wetread.explain.settings import Settings
from wetread.files import write_atomically
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.files import volume_from_nifti, volume_from_picture, write_nifti
from wetread.offline.reading import check_writable, context_of
from wetread.results import ResultContext
from wetread.study import Series

FEATURE_MAPS = "feature_maps"
ALL_METHODS = (*METHODS, FEATURE_MAPS)
_GRADIENT_WEIGHTED = {"gradcam", "gradcam++"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for; `target` is a label, None for the likeliest or the largest."""

    method: str
    target: str | None = None
    layer: str | None = None
    is_measured: bool = False

    @property
    def settings(self) -> Settings:
        """For the method."""
        return Settings(layer=self.layer)


@dataclass(frozen=True, slots=True)
class OfflineExplanation:
    """What came of one series or file; `figures` is empty if the model does not accept it."""

    series: str
    outcome: str
    figures: Mapping[str, Any]
    files: tuple[Path, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The figures with the files' paths as text, for JSON."""
        files = [str(file) for file in self.files]
        return {"series": self.series, "outcome": self.outcome, **self.figures, "files": files}


def explain_path(
    path: Path, model: BundleModel, wish: Wish, output: Path, progress: Progress = no_progress
) -> list[OfflineExplanation]:
    """Explain every series under `path` that `model` accepts, and write pictures and objects.

    A picture of each goes to `output` as PNG; DICOM gives a Secondary Capture and, but for
    radiographs, a Parametric Map as well, NIfTI the map as NIfTI. Feature maps are pictures only.

    Raises ConfigError for an unknown method, target or layer, UnsupportedSeriesError if the model
    accepts no series, StorageError if the results cannot be written, and as `explain`.
    """
    check_method(wish.method, ALL_METHODS)
    check_writable(output)
    if is_nifti(path) or is_picture(path):
        return [_explain_file(path, model, wish, output, progress)]
    with unpacked(path) as folder:
        series = read_study(find_instances(folder)).series
        found = [_explain_series(each, model, wish, output, progress) for each in series]
    if not any(each.files for each in found):
        raise UnsupportedSeriesError(
            "\n".join(f"series {each.series}: {each.outcome}" for each in found),
            hint=f"{model.name} reads none of these; choose another model",
        )
    return found


def _explain_series(
    series: Series, model: BundleModel, wish: Wish, output: Path, progress: Progress
) -> OfflineExplanation:
    uid = series.series_instance_uid
    try:
        model.accepts(series)
    except UnsupportedSeriesError as error:
        return OfflineExplanation(uid, error.message, {})
    source = load_volume(series)
    answer = ask(model, source.volume, wish.target)
    context = context_of(series, model, f" {wish.method} {answer.label}")
    captions = captions_of(model.identity, context, "automatic explanation")
    if wish.method == FEATURE_MAPS:
        return _show_layers(uid, uid, answer, captions, output)
    found = explain(
        model, answer, wish.method, wish.settings, progress, is_measured=wish.is_measured
    )
    pixels = draw_explanation(found, backdrop_of(source), captions)
    files = [_written(output / f"{uid}_{_word(wish.method)}.png", png_bytes(pixels))]
    for kind, dataset in _objects(found, pixels, source, context, model):
        file = output / f"{kind}-{dataset.SOPInstanceUID}.dcm"
        files.append(_written(file, file_bytes(dataset)))
    return OfflineExplanation(uid, found.statement, found.as_dict(), tuple(files))


def _objects(
    found: Explanation,
    pixels: np.ndarray[Any, np.dtype[np.uint8]],
    source: SourceVolume,
    context: ResultContext,
    model: BundleModel,
) -> list[tuple[str, Dataset]]:
    """SC, and PM where the source has a place in the patient."""
    words = CaptureWords("explanation", found.statement)
    objects = [("SC", capture(pixels, source, context, model.identity, words))]
    if not source.is_projection:
        is_weighted = found.method in _GRADIENT_WEIGHTED
        quantity = terms.GRADIENT_WEIGHTED_CLASS_ACTIVATION if is_weighted else terms.SALIENCY
        said = MapWords(quantity, found.statement, found.method)
        made = build_parametric_map(found.maps, source, context, model.identity, said)
        objects.append(("PM", made))
    return objects


def _explain_file(
    path: Path, model: BundleModel, wish: Wish, output: Path, progress: Progress
) -> OfflineExplanation:
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    volume, backdrop = _opened(path, model)
    answer = ask(model, volume, wish.target)
    now = datetime.now(UTC)
    captions = captions_at(model.identity, "automatic explanation", now, __version__)
    if wish.method == FEATURE_MAPS:
        return _show_layers(path.name, stem, answer, captions, output)
    found = explain(
        model, answer, wish.method, wish.settings, progress, is_measured=wish.is_measured
    )
    base = output / f"{stem}_{model.name}_{_word(wish.method)}"
    pixels = draw_explanation(found, backdrop, captions)
    files = [_written(base.with_name(base.name + ".png"), png_bytes(pixels))]
    if is_nifti(path):
        original = volume_from_nifti(path)
        files.append(_write_map(base.with_name(base.name + ".nii.gz"), found, volume, original))
    return OfflineExplanation(path.name, found.statement, found.as_dict(), tuple(files))


def _opened(path: Path, model: BundleModel) -> tuple[highdicom.Volume, Backdrop]:
    if is_picture(path):
        volume = volume_from_picture(path, model.value_range)
        return volume, backdrop_of_volume(volume, is_picture=True)
    # Axial slices seen from the feet: as a classifier wants them, and as a person knows them.
    volume = volume_from_nifti(path).to_patient_orientation("HPL")
    return volume, backdrop_of_volume(volume)


def _show_layers(
    series: str, stem: str, answer: Answer, captions: Captions, output: Path
) -> OfflineExplanation:
    files = []
    for layer, activations in feature_maps(answer.question.network, answer.question.image).items():
        pixels = draw_feature_maps(layer, activations, captions)
        file = output / f"{stem}_{FEATURE_MAPS}_{layer}.png"
        files.append(_written(file, png_bytes(pixels)))
    figures = {"target": answer.label, "probability": answer.probability, "method": FEATURE_MAPS}
    return OfflineExplanation(series, f"{len(files)} layers", figures, tuple(files))


def _write_map(
    file: Path, found: Explanation, volume: highdicom.Volume, original: highdicom.Volume
) -> Path:
    """The map, with 0 in slices that were not asked about, on the grid of the original file."""
    values = np.zeros(volume.spatial_shape, np.float32)
    for place, each in found.maps.items():
        values[place] = each
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        whole = Path(folder) / file.name
        array = np.asarray(volume.with_array(values).match_geometry(original).array, np.float32)
        write_nifti(whole, array, original)
        return _written(file, whole.read_bytes())


def _written(file: Path, content: bytes) -> Path:
    write_atomically(file, [content])
    return file


def _word(method: str) -> str:
    """For the name of a file."""
    return method.replace("+", "p")
