"""What readers drew in the archive, brought back as training cases."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import highdicom
import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from wetread.bundle_components.data import is_held_out
from wetread.bundle_components.labelmaps import OffGridError, labelmap_of
from wetread.corrections.archive import Archive
from wetread.corrections.cases import (
    CASES,
    Correction,
    Review,
    holdout_of,
    read_corrections,
    write_correction,
    write_holdout,
)
from wetread.corrections.segments import (
    check_packing,
    concerns,
    labels_of,
    segments_of,
    unknown_segments,
)
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import load_volume
from wetread.errors import GeometryError, InputError
from wetread.infer.description import load_description
from wetread.results import ModelIdentity, Segment

GATEWAY = "wetread"
SUPERSEDED = "superseded"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WEIGHTS = re.compile(r"weights_sha256=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Collected:
    """One Segmentation that was looked at: `case_id` if it is a case now, else why not.

    `from_model` is the model whose proposal was corrected, None if the drawing began empty.
    """

    sop_instance_uid: str
    series_instance_uid: str
    bundle: str
    case_id: str = ""
    reason: str = ""
    from_model: ModelIdentity | None = None


def collect(archive: Archive, bundles: Iterable[Path], folder: Path) -> list[Collected]:
    """Make a case of the newest Segmentation that readers drew of each series, by any tool.

    Those that the gateway made itself are left alone; a newer one replaces the case of an older,
    which is moved to `superseded`. A case whose series is held out, by a hash of its UID, is never
    trained on.

    One that cannot be used is told with its reason, and does not keep the others from it. Raises
    DestinationUnavailableError if the archive does not answer.
    """
    described = {bundle.name: load_description(bundle) for bundle in bundles}
    segmenters = {name: each.segments for name, each in described.items() if each.segments}
    found: list[Collected] = []
    stored = _stored(archive)
    for name, segments in segmenters.items():
        fitting = [each for each in stored if concerns(each, segments)]
        proposals = {_image_of(each): each for each in fitting if _is_ours(each)}
        newest = {_image_of(each): each for each in fitting if not _is_ours(each)}
        known = {each.case_id: each for each in read_corrections(folder, name)}
        for series, seg in newest.items():
            if described[name].segments_overlap:
                found.append(_overlapping(name, seg))
            elif str(seg.SOPInstanceUID) not in known:
                found.append(
                    _case(archive, folder, name, segments, seg, proposals.get(series), known)
                )
    return [*found, *_unknown(stored, segmenters)]


def _overlapping(bundle: str, seg: Dataset) -> Collected:
    reason = f"the segments of {bundle} may overlap, and a case has one number a voxel"
    return Collected(str(seg.SOPInstanceUID), _image_of(seg), bundle, reason=reason)


def _unknown(
    stored: Sequence[Dataset], segmenters: Mapping[str, tuple[Segment, ...]]
) -> Iterator[Collected]:
    """Those of series that the gateway has read, of which no bundle has any segment."""
    of_whom = [
        (seg, next((name for name, each in segmenters.items() if concerns(seg, each)), ""))
        for seg in stored
    ]
    read = {_image_of(seg): name for seg, name in of_whom if name and _is_ours(seg)}
    for seg, known in of_whom:
        name = read.get(_image_of(seg), "")
        if name and not known and not _is_ours(seg):
            error = unknown_segments(seg, labels_of(seg), segmenters[name])
            uid = str(seg.SOPInstanceUID)
            yield Collected(uid, _image_of(seg), name, reason=f"{error.message}; {error.hint}")


def _case(
    archive: Archive,
    folder: Path,
    bundle: str,
    segments: tuple[Segment, ...],
    seg: Dataset,
    proposal: Dataset | None,
    known: Mapping[str, Correction],
) -> Collected:
    uid, series = str(seg.SOPInstanceUID), _image_of(seg)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            correction, image, label = _fetched(archive, Path(temporary), segments, seg, proposal)
        _hold_out(folder, bundle, correction)
        write_correction(folder, bundle, correction, image, label)
    except (OffGridError, InputError, GeometryError) as error:
        return Collected(uid, series, bundle, reason=f"{error.message}; {error.hint}")
    for older in known.values():
        if older.series_instance_uid == series:
            _set_aside(folder, bundle, older)
    made_from = correction.from_model
    return Collected(uid, series, bundle, case_id=correction.case_id, from_model=made_from)


def _fetched(
    archive: Archive,
    folder: Path,
    segments: tuple[Segment, ...],
    seg: Dataset,
    proposal: Dataset | None,
) -> tuple[Correction, nibabel.Nifti1Image, nibabel.Nifti1Image]:
    study, series = str(seg.StudyInstanceUID), _image_of(seg)
    named = segments_of(seg, segments)
    for name in ("images", "drawn"):
        (folder / name).mkdir()
    archive.fetch(folder / "images", study, series)
    [one] = read_study(find_instances(folder / "images")).series
    source = load_volume(one)
    uids = (study, str(seg.SeriesInstanceUID), str(seg.SOPInstanceUID))
    [file] = archive.fetch(folder / "drawn", *uids)
    # (slice, row, column) → (column, row, slice)
    affine = np.asarray(source.volume.affine, float)[:, [2, 1, 0, 3]]
    shape = tuple(reversed(source.volume.spatial_shape))
    values = {number: segment.label_value for number, segment in named.items()}
    drawn = dcmread(file)
    check_packing(drawn)
    labelmap = labelmap_of(drawn, affine, shape, values)
    header = source.instances[0]
    correction = Correction(
        case_id=str(seg.SOPInstanceUID),
        series_instance_uid=series,
        study_instance_uid=study,
        annotator=str(seg.get("ContentCreatorName", "")) or str(seg.get("Manufacturer", "unknown")),
        annotated_at=_moment(seg),
        from_model=_model_of(proposal),
        subgroups=_subgroups(header),
        review=Review.CORRECTED,
    )
    return correction, _nifti(source.volume, affine), _nifti_of(labelmap, affine)


def _stored(archive: Archive) -> list[Dataset]:
    """Every Segmentation without its pixels, oldest first."""
    found = [
        each
        for series in archive.series(Modality="SEG")
        for each in archive.metadata(str(series.StudyInstanceUID), str(series.SeriesInstanceUID))
        if each.get("ReferencedSeriesSequence") and each.get("SegmentSequence")
    ]
    return sorted(found, key=lambda each: (_moment(each), str(each.SOPInstanceUID)))


def _image_of(seg: Dataset) -> str:
    return str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)


def _is_ours(seg: Dataset) -> bool:
    return bool(GATEWAY == seg.get("Manufacturer") == seg.get("ManufacturerModelName"))


def _moment(dataset: Dataset) -> datetime:
    """Content Date and Time, in the zone that the object says, else UTC."""
    text = f"{dataset.get('ContentDate') or '19700101'}{dataset.get('ContentTime') or '000000'}"
    moment = datetime.strptime(text.partition(".")[0], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    offset = str(dataset.get("TimezoneOffsetFromUTC") or "+0000")
    sign = -1 if offset.startswith("-") else 1
    hours, minutes = int(offset[-4:-2]), int(offset[-2:])
    return moment.replace(tzinfo=timezone(sign * timedelta(hours=hours, minutes=minutes)))


def _model_of(proposal: Dataset | None) -> ModelIdentity | None:
    """Which model proposed, as its own Segmentation says."""
    if proposal is None:
        return None
    item = proposal.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    match = _WEIGHTS.search(str(item.get("AlgorithmParameters", "")))
    if match is None:
        return None
    return ModelIdentity(str(item.AlgorithmName), str(item.AlgorithmVersion), match[1])


def _subgroups(header: Dataset) -> dict[str, str]:
    """Facts that say little of a person: sex, ten years of age, manufacturer."""
    found = {}
    if sex := str(header.get("PatientSex") or ""):
        found["sex"] = sex
    if match := re.fullmatch(r"(\d{3})Y", str(header.get("PatientAge") or "")):
        decade = int(match[1]) // 10 * 10
        found["age"] = f"{decade}-{decade + 9}"
    if maker := str(header.get("Manufacturer") or ""):
        found["manufacturer"] = maker.upper()
    return found


def _hold_out(folder: Path, bundle: str, correction: Correction) -> None:
    """Before the case is there, so that nothing trains on it meanwhile."""
    if is_held_out(correction.series_instance_uid):
        held_out = holdout_of(folder, bundle)
        write_holdout(folder, bundle, held_out | {correction.case_id})


def _set_aside(folder: Path, bundle: str, older: Correction) -> None:
    place = folder / bundle / SUPERSEDED
    place.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / bundle / CASES / older.case_id, place / older.case_id)


def _nifti(volume: highdicom.Volume, affine: NDArray[np.float64]) -> nibabel.Nifti1Image:
    return _nifti_of(np.asarray(volume.array, np.float32).transpose(2, 1, 0), affine)


def _nifti_of(array: NDArray[np.generic], affine: NDArray[np.float64]) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(array, _LPS_TO_RAS @ affine)
    image.header.set_xyzt_units("mm")
    return image
