"""`wetread infer`: reading what lies on disk, without a gateway."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wetread import __version__
from wetread.config import Config, EmbeddedModel
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances, is_nifti, unpacked
from wetread.errors import ConfigError, StorageError, UnsupportedSeriesError
from wetread.files import write_atomically
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.files import volume_from_nifti, write_nifti
from wetread.reading import in_words, read_series_with, volumes_ml
from wetread.results import ResultContext, SegmentationResult
from wetread.study import Series
from wetread.uids import derived_uid, job_uid


@dataclass(frozen=True, slots=True)
class OfflineReading:
    """What came of one series or file; `files` is empty if the model does not accept it."""

    series: str
    outcome: str
    volumes_ml: Mapping[str, float]
    seconds: Mapping[str, float]
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """The reading with paths as text, for JSON."""
        return {**asdict(self), "files": [str(file) for file in self.files]}


def open_named_model(name: str, config: Config) -> BundleModel:
    """A model of the settings, or the bundle of that name (under bundles/) or path.

    Raises ConfigError if there is neither.
    """
    if name in config.models:
        return open_model(name, config.models[name], config.model_repository)
    for bundle in (Path(name), Path("bundles") / name):
        if (bundle / "configs").is_dir():
            embedded = EmbeddedModel(bundle=bundle.resolve())
            return open_model(bundle.resolve().name, embedded, config.model_repository)
    known = ", ".join(config.models) or "none"
    raise ConfigError(
        f"no model or bundle {name!r}; models in the settings: {known}",
        hint="give a name under [models], or the path of a bundle",
    )


def read_path(
    path: Path, model: BundleModel, output: Path, progress: Progress = no_progress
) -> list[OfflineReading]:
    """Read every series under `path` that `model` accepts, and write the results to `output`.

    Raises UnsupportedSeriesError, with a reason for each series, if it accepts none of them,
    StorageError if the results cannot be written.
    """
    _check_writable(output)
    if is_nifti(path):
        return [_read_nifti(path, model, output, progress)]
    with unpacked(path) as folder:
        series = read_study(find_instances(folder)).series
        readings = [_read_series(each, model, output, progress) for each in series]
    if not any(reading.files for reading in readings):
        raise UnsupportedSeriesError(
            "\n".join(f"series {reading.series}: {reading.outcome}" for reading in readings),
            hint=f"{model.name} reads none of these; choose another model",
        )
    return readings


def _check_writable(output: Path) -> None:
    """Before minutes are spent: the folder, or the nearest one above it, can be written."""
    place = next(each for each in (output, *output.absolute().parents) if each.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise StorageError(
            f"cannot write to {output}: {place} is no folder that may be written",
            hint="give another folder with --output",
        )


def _read_series(
    series: Series, model: BundleModel, output: Path, progress: Progress
) -> OfflineReading:
    try:
        model.accepts(series)
    except UnsupportedSeriesError as error:
        return OfflineReading(series.series_instance_uid, error.message, {}, {}, ())
    reading = read_series_with(model, series, _context(series, model), progress)
    files = []
    for each in reading.objects:
        file = output / f"{each.kind}-{each.sop_instance_uid}.dcm"
        write_atomically(file, [each.file_bytes()])
        files.append(file)
    found = reading.result
    volumes = (
        volumes_ml(found, reading.source.voxel_ml) if isinstance(found, SegmentationResult) else {}
    )
    return OfflineReading(
        series.series_instance_uid, reading.outcome, volumes, reading.seconds, tuple(files)
    )


def _context(series: Series, model: BundleModel) -> ResultContext:
    uids = [instance.sop_instance_uid for instance in series.instances]
    return ResultContext(
        # Run by hand twice, the second run is a new attempt: its time makes its UIDs.
        job_uid=job_uid(
            uids,
            model.name,
            model.identity.weights_sha256,
            0,
            int(datetime.now(UTC).timestamp() * 1000),
        ),
        created_at=datetime.now(UTC),
        device_uid=derived_uid("offline device"),
        station_name="WETREAD",
        software_version=__version__,
    )


def _read_nifti(path: Path, model: BundleModel, output: Path, progress: Progress) -> OfflineReading:
    volume = volume_from_nifti(path)
    result = model.read(volume, progress)
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    file = output / f"{stem}_{model.name}.nii.gz"
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        whole = Path(folder) / file.name
        write_nifti(whole, result.labelmap, volume)
        write_atomically(file, [whole.read_bytes()])
    voxel_ml = math.prod(volume.spacing) / 1000
    volumes = volumes_ml(result, voxel_ml)
    return OfflineReading(path.name, in_words(volumes), volumes, result.seconds, (file,))
