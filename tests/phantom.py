"""A synthetic head in real DICOM files, so that the truth of a test is arithmetic.

The phantom is a function of LPS millimetres (`Phantom.values_at`): an ellipsoidal head with a
bright shell, a box at the right front and, inside, the target ellipsoid whose volume is known.
It has no symmetry, so that a flip, a swap of axes or an LPS/RAS slip shows. `write_series`
samples it on any grid: the same object stands at the same millimetres in every orientation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from wetread.study import ReceivedInstance, Series
from wetread.uids import derived_uid

Floats = NDArray[np.float64]
Orientation = Literal["axial", "sagittal", "coronal", "feet-first", "negated column"]
Fault = Literal["gap", "duplicate position", "tilt", "mixed orientation", "missing position"]

# Direction of increasing column index, then of increasing row index, as in (0020,0037).
DIRECTIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "feet-first": ((-1, 0, 0), (0, 1, 0)),
    "negated column": ((1, 0, 0), (0, -1, 0)),
}
AXIS_OF_ROTATION = (0.48, 0.6, 0.64)
INTERCEPT = -1024.0
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
RECEIVED_AT = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Phantom:
    """The object itself; `centre` moves all of it, in LPS mm."""

    centre: tuple[float, float, float] = (11.0, -23.0, 57.0)
    ellipsoid_axes: tuple[float, float, float] = (30.0, 22.0, 26.0)

    @property
    def ellipsoid_centre(self) -> Floats:
        return np.add(self.centre, (10.0, -8.0, 6.0))

    @property
    def expected_ml(self) -> float:
        return float(4 / 3 * np.pi * np.prod(self.ellipsoid_axes) / 1000)

    def mask_at(self, points_lps: Floats) -> NDArray[np.bool_]:
        """Whether each point (…, 3) in LPS mm lies in the target ellipsoid."""
        scaled = (np.asarray(points_lps) - self.ellipsoid_centre) / self.ellipsoid_axes
        return np.asarray((scaled**2).sum(axis=-1) <= 1.0)

    def values_at(self, points_lps: Floats) -> NDArray[np.float32]:
        """The value in HU at each point (…, 3) in LPS mm; every one is an even integer."""
        local = np.asarray(points_lps) - self.centre
        values = np.full(local.shape[:-1], -1000.0, np.float32)
        radius = ((local / (66.0, 82.0, 92.0)) ** 2).sum(axis=-1)
        values[radius <= 1.0] = 700.0
        values[radius <= 0.86] = 30.0
        in_box = (np.abs(local - (-30.0, -34.0, 10.0)) <= (9.0, 7.0, 16.0)).all(axis=-1)
        values[in_box] = 240.0
        values[self.mask_at(points_lps)] = 120.0
        return values


@dataclass(frozen=True)
class PhantomSeries:
    """What was written, and the truth about it.

    `affine` maps (slice, row, column) of the expected array, slices ordered along the normal
    (row direction × column direction), to LPS mm.
    """

    paths: tuple[Path, ...]
    study_instance_uid: str
    series_instance_uid: str
    affine: Floats
    shape: tuple[int, int, int]
    phantom: Phantom = field(repr=False)
    patient_name: str
    modality: str

    @property
    def ellipsoid_centre(self) -> Floats:
        """LPS mm."""
        return self.phantom.ellipsoid_centre

    @property
    def ellipsoid_axes(self) -> tuple[float, float, float]:
        """Half axes along L, P and S, mm."""
        return self.phantom.ellipsoid_axes

    @property
    def expected_ml(self) -> float:
        return self.phantom.expected_ml

    def mask_at(self, points_lps: Floats) -> NDArray[np.bool_]:
        return self.phantom.mask_at(points_lps)

    def points(self) -> Floats:
        """LPS mm of every voxel centre, shape (slice, row, column, 3)."""
        return grid_points(self.affine, self.shape)

    def mask(self) -> NDArray[np.uint8]:
        """The target ellipsoid on the grid of the series, 0 or 1."""
        return self.mask_at(self.points()).astype(np.uint8)

    def values(self) -> NDArray[np.float32]:
        """The expected array: HU for CT, HU + 1024 for MR."""
        offset = 0.0 if self.modality == "CT" else -INTERCEPT
        return np.asarray(self.phantom.values_at(self.points()) + offset, np.float32)


def grid_points(affine: Floats, shape: Sequence[int]) -> Floats:
    """LPS mm of every voxel centre, shape (*shape, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def rotation(degrees: float) -> Floats:
    """Rotation about a fixed oblique axis (Rodrigues)."""
    x, y, z = np.asarray(AXIS_OF_ROTATION) / np.linalg.norm(AXIS_OF_ROTATION)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def write_series(
    folder: Path,
    *,
    modality: Literal["CT", "MR"] = "CT",
    enhanced: bool = False,
    shape: tuple[int, int, int] = (24, 48, 40),
    row_spacing_mm: float = 4.0,
    column_spacing_mm: float = 3.5,
    slice_spacing_mm: float = 5.0,
    orientation: Orientation = "axial",
    oblique_degrees: float = 0.0,
    centre: tuple[float, float, float] = (11.0, -23.0, 57.0),
    shuffled: bool = False,
    reversed_order: bool = False,
    rescale_slopes: Sequence[float] = (1.0,),
    monochrome1: bool = False,
    pixel_padding: int | None = None,
    patient_name: str = "Phantom^Head",
    character_set: str | list[str] = "ISO_IR 192",
    body_part: str = "HEAD",
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    fault: Fault | None = None,
    seed: str = "phantom",
) -> PhantomSeries:
    """Write one series of the phantom into `folder` (made if need be) and say what is in it.

    `shape` is (slice, row, column). `row_spacing_mm` is the distance of neighbouring rows.
    `rescale_slopes` are used in turn, one a slice. `fault` breaks the geometry in the middle of
    the series; `affine` and `shape` then describe what it would have been. `seed` gives the UIDs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    phantom = Phantom(centre)
    affine = _affine(
        shape,
        (slice_spacing_mm, row_spacing_mm, column_spacing_mm),
        orientation,
        rotation(oblique_degrees),
        centre,
    )
    frames = _frames(phantom, affine, shape, rescale_slopes)
    _break(frames, fault, affine)
    if reversed_order:
        frames.reverse()
    if shuffled:
        random.Random(seed).shuffle(frames)  # noqa: S311
    common = _common(modality, patient_name, character_set, body_part, seed)
    common.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    if pixel_padding is not None:
        common.PixelPaddingValue = pixel_padding
        for frame in frames:
            frame.stored[:3, :3] = pixel_padding
    write = _write_enhanced if enhanced else _write_classic
    paths = write(folder, common, frames, (row_spacing_mm, column_spacing_mm), slice_spacing_mm)
    if transfer_syntax_uid != ExplicitVRLittleEndian:
        for path in paths:
            _compress(path, transfer_syntax_uid)
    return PhantomSeries(
        paths=tuple(paths),
        study_instance_uid=common.StudyInstanceUID,
        series_instance_uid=common.SeriesInstanceUID,
        affine=affine,
        shape=shape,
        phantom=phantom,
        patient_name=patient_name,
        modality=modality,
    )


def received(
    series: PhantomSeries, *, calling_ae_title: str = "CT_ROOM1", called_ae_title: str = "WETREAD"
) -> Series:
    """The facts about the written files, as the listener and the assembly would state them."""
    headers = [dcmread(path, stop_before_pixels=True) for path in series.paths]
    instances = tuple(
        ReceivedInstance(
            path=path,
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=header.SeriesInstanceUID,
            sop_instance_uid=header.SOPInstanceUID,
            sop_class_uid=header.SOPClassUID,
            transfer_syntax_uid=header.file_meta.TransferSyntaxUID,
            calling_ae_title=calling_ae_title,
            called_ae_title=called_ae_title,
            received_at=RECEIVED_AT,
        )
        for path, header in zip(series.paths, headers, strict=True)
    )
    return Series(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        instances=instances,
        modality=headers[0].Modality,
        sop_class_uids=(headers[0].SOPClassUID,),
        series_number=int(headers[0].SeriesNumber),
        series_description=headers[0].SeriesDescription,
        body_part_examined=headers[0].BodyPartExamined,
        manufacturer=headers[0].Manufacturer,
        image_type=tuple(headers[0].ImageType),
        slice_spacing_mm=float(np.linalg.norm(series.affine[:3, 0])),
        orientation=_plane(series.affine[:3, 0]),
    )


@dataclass
class _Frame:
    position: Floats | None
    row_cosines: Floats
    column_cosines: Floats
    stored: NDArray[np.uint16]
    slope: float


def _affine(
    shape: Sequence[int],
    spacing: Sequence[float],
    orientation: str,
    turn: Floats,
    centre: Sequence[float],
) -> Floats:
    row, column = (turn @ np.asarray(cosines, float) for cosines in DIRECTIONS[orientation])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.cross(row, column), column, row], axis=1) * spacing
    middle = (np.asarray(shape) - 1) / 2
    # The grid is not centred on the object: nothing may depend on that.
    affine[:3, 3] = np.add(centre, (3.0, -2.0, 1.0)) - affine[:3, :3] @ middle
    return affine


def _plane(normal: Floats) -> str:
    size = np.abs(normal) / np.linalg.norm(normal)
    if size.max() < 0.9:
        return "oblique"
    return ("sagittal", "coronal", "axial")[int(size.argmax())]


def _frames(
    phantom: Phantom, affine: Floats, shape: tuple[int, int, int], slopes: Sequence[float]
) -> list[_Frame]:
    values = phantom.values_at(grid_points(affine, shape))
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    frames = []
    for number in range(shape[0]):
        slope = slopes[number % len(slopes)]
        stored = np.round((values[number] - INTERCEPT) / slope).astype(np.uint16)
        position = affine[:3, 3] + number * affine[:3, 0]
        frames.append(_Frame(position, directions[:, 2], directions[:, 1], stored, slope))
    return frames


def _break(frames: list[_Frame], fault: Fault | None, affine: Floats) -> None:
    middle = len(frames) // 2
    chosen = frames[middle]
    if fault == "gap":
        del frames[middle]
    elif fault == "duplicate position":
        frames.append(_Frame(chosen.position, *_rest(chosen)))
    elif fault == "missing position":
        chosen.position = None
    elif fault == "mixed orientation":
        chosen.row_cosines, chosen.column_cosines = -chosen.row_cosines, -chosen.column_cosines
    elif fault == "tilt":
        shear = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
        step = np.linalg.norm(affine[:3, 0]) * np.tan(np.deg2rad(15.0))
        for number, frame in enumerate(frames):
            frame.position = affine[:3, 3] + number * (affine[:3, 0] + step * shear)


def _rest(frame: _Frame) -> tuple[Floats, Floats, NDArray[np.uint16], float]:
    return frame.row_cosines, frame.column_cosines, frame.stored, frame.slope


def _common(
    modality: str, name: str, character_set: str | list[str], body_part: str, seed: str
) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = character_set
    header.PatientName, header.PatientID = name, "PHANTOM-1"
    header.PatientBirthDate, header.PatientSex, header.PatientAge = "19700102", "O", "055Y"
    header.StudyInstanceUID = derived_uid(seed, "study")
    header.SeriesInstanceUID = derived_uid(seed, "series", modality)
    header.FrameOfReferenceUID = derived_uid(seed, "frame of reference")
    header.PositionReferenceIndicator = ""
    header.StudyDate = header.SeriesDate = header.ContentDate = "20250304"
    header.AcquisitionDate, header.AcquisitionTime = "20250304", "010203"
    header.StudyTime = header.SeriesTime = header.ContentTime = "010203"
    header.StudyID, header.AccessionNumber, header.ReferringPhysicianName = "S1", "A1", ""
    header.StudyDescription, header.SeriesDescription = f"{modality} head", "phantom"
    header.Modality, header.SeriesNumber, header.BodyPartExamined = modality, 3, body_part
    header.Manufacturer, header.ManufacturerModelName = "wetread", "phantom"
    header.DeviceSerialNumber, header.SoftwareVersions = "1", "1"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SamplesPerPixel, header.BitsAllocated, header.BitsStored = 1, 16, 16
    header.HighBit, header.PixelRepresentation = 15, 0
    return header


def _write_classic(
    folder: Path, common: Dataset, frames: list[_Frame], spacing: Sequence[float], thickness: float
) -> list[Path]:
    return [
        _write(
            folder / f"{number:04d}.dcm",
            _classic(common, frame, number, spacing, thickness),
            frame.stored,
        )
        for number, frame in enumerate(frames, start=1)
    ]


def _classic(
    common: Dataset, frame: _Frame, number: int, spacing: Sequence[float], thickness: float
) -> Dataset:
    image = Dataset()
    image.update(common)
    image.SOPClassUID = CT if common.Modality == "CT" else MR
    image.SOPInstanceUID = derived_uid(common.SeriesInstanceUID, "instance", str(number))
    image.InstanceNumber, image.SliceThickness = number, thickness
    image.ImageOrientationPatient = _decimals([*frame.row_cosines, *frame.column_cosines])
    if frame.position is not None:
        image.ImagePositionPatient = _decimals(frame.position)
    image.PixelSpacing = list(spacing)
    if common.Modality == "CT":
        image.RescaleSlope, image.RescaleIntercept = frame.slope, INTERCEPT
        image.RescaleType, image.KVP = "HU", 120
    elif frame.slope != 1.0:
        image.RescaleSlope, image.RescaleIntercept = frame.slope, 0
    return image


def _write_enhanced(
    folder: Path, common: Dataset, frames: list[_Frame], spacing: Sequence[float], thickness: float
) -> list[Path]:
    image = Dataset()
    image.update(common)
    image.SOPClassUID = ENHANCED_CT if common.Modality == "CT" else ENHANCED_MR
    image.SOPInstanceUID = derived_uid(common.SeriesInstanceUID, "enhanced")
    image.InstanceNumber, image.NumberOfFrames = 1, len(frames)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(spacing), thickness
    shared.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = [
        _per_frame(frame, number, common.Modality) for number, frame in enumerate(frames, start=1)
    ]
    return [_write(folder / "enhanced.dcm", image, np.stack([frame.stored for frame in frames]))]


def _per_frame(frame: _Frame, number: int, modality: str) -> Dataset:
    item, content, plane, orientation, transform = (Dataset() for _ in range(5))
    content.StackID, content.InStackPositionNumber = "1", number
    content.DimensionIndexValues = [1, number]
    item.FrameContentSequence = [content]
    if frame.position is not None:
        plane.ImagePositionPatient = _decimals(frame.position)
        item.PlanePositionSequence = [plane]
    orientation.ImageOrientationPatient = _decimals([*frame.row_cosines, *frame.column_cosines])
    item.PlaneOrientationSequence = [orientation]
    transform.RescaleSlope = frame.slope
    transform.RescaleIntercept = INTERCEPT if modality == "CT" else 0
    transform.RescaleType = "HU" if modality == "CT" else "US"
    item.PixelValueTransformationSequence = [transform]
    return item


def _decimals(values: Any) -> list[str]:
    return [f"{value:.10f}"[:16] for value in np.asarray(values, float) + 0.0]


def _write(path: Path, image: Dataset, stored: NDArray[np.uint16]) -> Path:
    image.Rows, image.Columns = stored.shape[-2:]
    image.PixelData = stored.astype("<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    return path


def _compress(path: Path, transfer_syntax_uid: str) -> None:
    image = dcmread(path)
    image.compress(UID(transfer_syntax_uid), generate_instance_uid=False)
    image.save_as(path, enforce_file_format=True)
