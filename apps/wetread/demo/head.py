"""A NIfTI head as the MR series that a scanner would have sent."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from wetread.errors import InputError
from wetread.infer.files import volume_from_nifti
from wetread.uids import derived_uid


def write_head_series(nifti: Path, folder: Path) -> None:
    """Write a NIfTI head as a sagittal MR series, as a scanner would have acquired it.

    Slices go from the patient's left to right, rows from head to feet, columns from front to back.
    Each call makes a new study. Raises InputError if the file cannot be read.
    """
    if not nifti.is_file():
        raise InputError(
            f"{nifti}: no such file",
            hint="`make demo` fetches it; or give a DICOM folder with --study",
        )
    # Indices grow towards the patient's right, front and head.
    volume = volume_from_nifti(nifti).to_patient_orientation("RAH")
    array, affine = np.asarray(volume.array), np.asarray(volume.affine)
    low, high = float(array.min()), float(array.max())
    stored = np.round((array - low) * (4095 / max(high - low, 1e-6))).astype(np.uint16)
    folder.mkdir(parents=True)
    seed = str(time.time_ns())
    for number, x in enumerate(range(stored.shape[0]), start=1):
        pixels = stored[x, ::-1, ::-1].T
        corner = affine @ (x, stored.shape[1] - 1, stored.shape[2] - 1, 1)
        spacing = (affine[2, 2], -affine[1, 1], abs(affine[0, 0]))
        dataset = _head_slice(seed, number, pixels, corner[:3], spacing)
        dataset.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def _head_slice(
    seed: str,
    number: int,
    pixels: np.ndarray,
    corner: np.ndarray,
    spacing: tuple[float, float, float],
) -> Dataset:
    rows_mm, columns_mm, slices_mm = (abs(value) for value in spacing)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = derived_uid("demo", seed, str(number))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = derived_uid("demo", seed, "study")
    dataset.SeriesInstanceUID = derived_uid("demo", seed, "series")
    dataset.FrameOfReferenceUID = derived_uid("demo", seed, "frame")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Colin^Twenty-Seven", "COLIN27"
    dataset.PatientBirthDate, dataset.PatientSex = "", "M"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = time.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = time.strftime("%H%M%S")
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.StudyDescription, dataset.SeriesDescription = "Head", "T1 sagittal"
    dataset.Modality, dataset.Manufacturer = "MR", "wetread demo"
    dataset.BodyPartExamined, dataset.PatientPosition = "HEAD", "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", "SP"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "3D"
    dataset.EchoTime, dataset.EchoTrainLength = "10", "1"
    dataset.RepetitionTime = "18"
    dataset.ImagePositionPatient = [f"{value:.6g}" for value in corner]
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.PixelSpacing = [f"{rows_mm:.6g}", f"{columns_mm:.6g}"]
    dataset.SliceThickness = f"{slices_mm:.6g}"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    return dataset
