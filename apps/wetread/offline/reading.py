"""`wetread infer`: reading what lies on disk, without a gateway."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom

from wetread import __version__
from wetread.config import Config, EmbeddedModel
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances, is_nifti, is_picture, unpacked
from wetread.errors import ConfigError, InputError, StorageError, UnsupportedSeriesError
from wetread.files import write_atomically
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.files import volume_from_nifti, volume_from_picture, write_nifti
from wetread.infer.subjects import is_subject, volume_from_subject
from wetread.reading import outcome_of, read_series_with, volumes_ml, voxels_of
from wetread.results import Extent, FindingsResult, OnDemand, ResultContext, SegmentationResult
from wetread.study import ReceivedInstance, Series
from wetread.uids import derived_uid, job_uid


@dataclass(frozen=True, slots=True)
class OfflineReading:
    """What came of one series or file; `files` is empty if the model does not accept it.

    `is_refused` says that it would have read the series, were it not at fault; `outcome` says how.
    A segmenter gives `volumes_ml`, a classifier `probabilities`, by label.
    """

    series: str
    outcome: str
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    is_refused: bool = False

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
    path: Path,
    model: BundleModel,
    output: Path,
    progress: Progress = no_progress,
    also: Sequence[OnDemand] = (),
) -> list[OfflineReading]:
    """Read every series under `path` that `model` accepts, and write the results to `output`.

    A series that is at fault does not keep the others from being read. DICOM gives the kinds of
    object in `also`, too.

    Raises UnsupportedSeriesError, with a reason for each series, if none of them could be read,
    StorageError if the results cannot be written.
    """
    check_writable(output)
    if is_nifti(path):
        return [_read_file(path, volume_from_nifti(path), model, output, progress)]
    if is_picture(path):
        picture = volume_from_picture(path, model.value_range)
        return [_read_file(path, picture, model, output, progress)]
    if is_subject(path, model.modalities):
        subject = volume_from_subject(path, model.modalities)
        return [_read_file(path, subject, model, output, progress)]
    with unpacked(path) as folder:
        instances = find_instances(folder)
        stacks = read_study(instances, stack_by_stack=True).series
        readings = [_read_series(each, model, output, progress, also) for each in stacks]
        readings += _left_out(instances, stacks)
    if not any(reading.files for reading in readings):
        raise UnsupportedSeriesError(
            "\n".join(f"series {reading.series}: {reading.outcome}" for reading in readings),
            hint=f"{model.name} reads none of these; choose another model",
        )
    return readings


def _left_out(
    instances: Sequence[ReceivedInstance], stacks: Sequence[Series]
) -> Iterator[OfflineReading]:
    """What of a series is no slice of it."""
    read = {instance.path for stack in stacks for instance in stack.instances}
    aside = Counter(each.series_instance_uid for each in instances if each.path not in read)
    for uid, count in aside.items():
        yield OfflineReading(uid, f"{count} localizers or objects without an image are left out")


def check_writable(output: Path) -> None:
    """Before minutes are spent: the folder, or the nearest one above it, can be written."""
    place = next(each for each in (output, *output.absolute().parents) if each.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise StorageError(
            f"cannot write to {output}: {place} is no folder that may be written",
            hint="give another folder with --output",
        )


def _read_series(
    series: Series,
    model: BundleModel,
    output: Path,
    progress: Progress,
    also: Sequence[OnDemand],
) -> OfflineReading:
    try:
        model.accepts(series)
    except UnsupportedSeriesError as error:
        return OfflineReading(series.series_instance_uid, _of(series, error.message))
    try:
        context = replace(context_of(series, model), also=frozenset(also))
        reading = read_series_with(model, series, context, progress)
    except InputError as error:
        # The other series of the study may be whole.
        fact = error.message.removeprefix(f"series {series.series_instance_uid}: ")
        outcome = _of(series, f"{fact}; {error.hint}")
        return OfflineReading(series.series_instance_uid, outcome, is_refused=True)
    files = []
    for each in reading.objects:
        file = output / f"{each.kind}-{each.sop_instance_uid}.dcm"
        write_atomically(file, [each.file_bytes()])
        files.append(file)
    found = reading.result
    return OfflineReading(
        series.series_instance_uid,
        _of(series, reading.outcome),
        reading.volumes_ml,
        reading.seconds,
        tuple(files),
        found.probabilities if isinstance(found, FindingsResult) else {},
    )


def _of(series: Series, outcome: str) -> str:
    return f"{series.stack}: {outcome}" if series.stack else outcome


def context_of(series: Series, model: BundleModel, purpose: str = "") -> ResultContext:
    """The frame of the objects of one run by hand; another `purpose` gives other UIDs."""
    uids = [instance.sop_instance_uid for instance in series.instances]
    return ResultContext(
        # Run by hand twice, the second run is a new attempt: its time makes its UIDs.
        job_uid=job_uid(
            uids,
            model.name + purpose,
            model.identity.weights_sha256,
            0,
            int(datetime.now(UTC).timestamp() * 1000),
        ),
        created_at=datetime.now(UTC),
        device_uid=derived_uid("offline device"),
        station_name="WETREAD",
        software_version=__version__,
    )


def _read_file(
    path: Path, volume: highdicom.Volume, model: BundleModel, output: Path, progress: Progress
) -> OfflineReading:
    """NIfTI gives NIfTI; from a classifier, which has no mask, come its probabilities as JSON."""
    stem = path.name if path.is_dir() else path.name.removesuffix(".gz").rpartition(".")[0]
    if model.description.classes and is_nifti(path):
        # A classifier looks at axial slices, seen from the feet, as they are shown.
        volume = volume.to_patient_orientation("HPL")
    found = model.read(volume, progress)
    if isinstance(found, FindingsResult):
        return _write_findings(path, output / f"{stem}_{model.name}.json", found)
    return _write_mask(path, output / f"{stem}_{model.name}.nii.gz", volume, found)


def _write_findings(path: Path, file: Path, result: FindingsResult) -> OfflineReading:
    content = {"probabilities": result.probabilities, "model": asdict(result.model)}
    write_atomically(file, [json.dumps(content, indent=2).encode()])
    return OfflineReading(
        path.name,
        outcome_of(result, {}, Extent(1.0, "mL")),
        seconds=result.seconds,
        files=(file,),
        probabilities=result.probabilities,
    )


def _write_mask(
    path: Path, file: Path, volume: highdicom.Volume, result: SegmentationResult
) -> OfflineReading:
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        whole = Path(folder) / file.name
        write_nifti(whole, result.labelmap, volume)
        write_atomically(file, [whole.read_bytes()])
    extent = Extent(math.prod(volume.spacing) / 1000, "mL")
    voxels = voxels_of(result)
    outcome = outcome_of(result, voxels, extent)
    return OfflineReading(path.name, outcome, volumes_ml(voxels, extent), result.seconds, (file,))
