"""The headers of synthetic CT, MR and DX images: PS3.3 A.3, A.4 and A.26."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
)

from wetread import __version__
from wetread.dicom.multiframe import decimal
from wetread.dicom.result_header import NOT_FOR_DIAGNOSTIC_USE, code_item, file_meta_of
from wetread.phantom.codes import POSTERO_ANTERIOR, REGIONS
from wetread.phantom.contrast import SEQUENCES, Modality
from wetread.phantom.study import SyntheticStudy
from wetread.uids import derived_uid

CT_INTERCEPT_HU = -1024
# Any fixed day: the same seed gives the same bytes.
_DATE, _TIME = "20250101", "120000"
_BITS = 12
LARGEST = (1 << _BITS) - 1
# Centre and width in HU.
_CT_WINDOWS = {"head": (40, 100), "chest": (40, 400)}
_SOP_CLASSES = {Modality.CT: CTImageStorage, Modality.DX: DigitalXRayImageStorageForPresentation}


def study_uid_parts(study: SyntheticStudy) -> tuple[str, ...]:
    """What the patient depends on; everything else is how they were imaged."""
    recipe = study.recipe
    side = recipe.side or ""
    return ("phantom", recipe.anatomy, str(recipe.seed), str(study.number), study.label, side)


def series_uid_parts(study: SyntheticStudy, modality: Modality) -> tuple[str, ...]:
    """What the values of a series depend on, so that no UID ever names two contents."""
    recipe = study.recipe
    size = f"{recipe.slices} x {recipe.matrix}"
    stored = "MONOCHROME1" if recipe.is_monochrome1 and modality is Modality.DX else ""
    return (*study_uid_parts(study), modality, size, stored, repr(recipe.effects), __version__)


def slice_header(
    study: SyntheticStudy, modality: Modality, number: int, stored: NDArray[np.uint16]
) -> Dataset:
    """Slice `number` (from 0) of a CT or MR series with its pixels, 12 bits."""
    dataset = _common(study, modality, number + 1)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality is Modality.CT else "OTHER"]
    dataset.FrameOfReferenceUID = derived_uid(*study_uid_parts(study), "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition = "HFS"
    _add_plane(dataset, study, number)
    if modality is Modality.CT:
        _add_ct(dataset, study)
    else:
        _add_mr(dataset, modality, stored)
    _add_pixels(dataset, stored)
    return dataset


def radiograph_header(
    study: SyntheticStudy, stored: NDArray[np.uint16], pixel_mm: float, *, is_monochrome1: bool
) -> Dataset:
    """The radiograph with its pixels, 12 bits. MONOCHROME1 takes low values as bright."""
    dataset = _common(study, Modality.DX, 1)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [code_item(REGIONS[study.anatomy.kind])]
    dataset.ViewPosition = "PA"
    dataset.ViewCodeSequence = [code_item(POSTERO_ANTERIOR)]
    dataset.ImagerPixelSpacing = [decimal(pixel_mm)] * 2
    dataset.DetectorType = "DIRECT"
    dataset.PositionerType = "NONE"
    dataset.KVP = "120"
    dataset.AcquisitionContextSequence = []
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if is_monochrome1 else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "INVERSE" if is_monochrome1 else "IDENTITY"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.WindowCenter, dataset.WindowWidth = str((LARGEST + 1) // 2), str(LARGEST + 1)
    _add_pixels(dataset, stored)
    if is_monochrome1:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    return dataset


def _common(study: SyntheticStudy, modality: Modality, number: int) -> Dataset:
    dataset = Dataset()
    series = series_uid_parts(study, modality)
    dataset.SOPClassUID = _SOP_CLASSES.get(modality, MRImageStorage)
    dataset.SOPInstanceUID = derived_uid(*series, str(number))
    dataset.SeriesInstanceUID = derived_uid(*series, "series")
    dataset.StudyInstanceUID = derived_uid(*study_uid_parts(study), "study")
    dataset.file_meta = file_meta_of(dataset)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^{study.anatomy.kind.capitalize()} {study.number}"
    dataset.PatientID = f"PHANTOM-{study.subject}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = _TIME
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyDescription = f"Synthetic {study.anatomy.kind}"
    dataset.SeriesDescription = f"{modality} {study.anatomy.kind}, synthetic"
    dataset.ImageComments = NOT_FOR_DIAGNOSTIC_USE
    dataset.Modality = "MR" if modality.is_mr else str(modality)
    dataset.BodyPartExamined = study.anatomy.kind.upper()
    dataset.SeriesNumber = list(Modality).index(modality) + 1
    dataset.InstanceNumber, dataset.AcquisitionNumber = number, 1
    dataset.Manufacturer, dataset.ManufacturerModelName = "wetread", "phantom"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "1", __version__
    return dataset


def _add_plane(dataset: Dataset, study: SyntheticStudy, number: int) -> None:
    affine = study.grid.affine
    between_slices, between_rows, between_columns = study.grid.spacing_mm
    directions = affine[:3, :3] / study.grid.spacing_mm
    position = affine[:3, 3] + number * affine[:3, 0]
    dataset.ImagePositionPatient = _decimals(position)
    dataset.ImageOrientationPatient = _decimals([*directions[:, 2], *directions[:, 1]])
    dataset.PixelSpacing = _decimals([between_rows, between_columns])
    dataset.SliceThickness = decimal(between_slices)
    dataset.SliceLocation = decimal(float(position @ directions[:, 0]))


def _add_ct(dataset: Dataset, study: SyntheticStudy) -> None:
    dataset.KVP = "120"
    dataset.RescaleIntercept, dataset.RescaleSlope = str(CT_INTERCEPT_HU), "1"
    dataset.RescaleType = "HU"
    centre, width = _CT_WINDOWS[study.anatomy.kind]
    dataset.WindowCenter, dataset.WindowWidth = str(centre), str(width)


def _add_mr(dataset: Dataset, modality: Modality, stored: NDArray[np.uint16]) -> None:
    sequence = SEQUENCES[modality]
    dataset.ScanningSequence = "SE" if sequence.inversion_seconds is None else "IR"
    dataset.SequenceVariant, dataset.ScanOptions = "NONE", ""
    dataset.MRAcquisitionType, dataset.MagneticFieldStrength = "2D", "1.5"
    dataset.RepetitionTime, dataset.EchoTime = (
        _milliseconds(sequence.repetition_seconds),
        _milliseconds(sequence.echo_seconds),
    )
    dataset.EchoTrainLength, dataset.FlipAngle = 1, "90"
    if sequence.inversion_seconds is not None:
        dataset.InversionTime = _milliseconds(sequence.inversion_seconds)
    dataset.InPlanePhaseEncodingDirection = "COL"
    dataset.SpacingBetweenSlices = dataset.SliceThickness
    brightest = max(int(stored.max()), 2)
    dataset.WindowCenter, dataset.WindowWidth = str(brightest // 2), str(brightest)


def _add_pixels(dataset: Dataset, stored: NDArray[np.uint16]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(stored, "<u2").tobytes()


def _decimals(values: Sequence[Any] | NDArray[np.float64]) -> list[str]:
    return [decimal(float(value)) for value in values]


def _milliseconds(seconds: float) -> str:
    return decimal(round(seconds * 1000, 3))
