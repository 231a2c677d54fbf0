"""A made-up radiograph as CR or DX writes it: a bright block above on the patient's left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from wetread.uids import derived_uid

SHAPE = (60, 80)
SOP_CLASSES = {"CR": "1.2.840.10008.5.1.4.1.1.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}
BLOCK = (slice(10, 30), slice(50, 70))
BRIGHT, DARK = 3000, 500


def radiograph(modality: str = "DX", **changes: Any) -> Dataset:
    """A frontal chest radiograph; `changes` set attributes, None removes one."""
    header = Dataset()
    header.SOPClassUID = SOP_CLASSES[modality]
    header.StudyInstanceUID = derived_uid("radiograph study")
    header.SeriesInstanceUID = derived_uid("radiograph series", modality)
    header.SOPInstanceUID = derived_uid("radiograph", modality)
    header.Modality, header.SeriesNumber, header.InstanceNumber = modality, 1, 1
    header.PatientName, header.PatientID = "Phantom^Chest", "CHEST1"
    header.PatientBirthDate, header.PatientSex = "19700101", "F"
    header.StudyDate = header.SeriesDate = header.ContentDate = "20250304"
    header.StudyTime = header.SeriesTime = header.ContentTime = "050607"
    header.AccessionNumber = header.StudyID = header.ReferringPhysicianName = ""
    header.BodyPartExamined, header.ViewPosition = "CHEST", "PA"
    header.PatientOrientation = ["L", "F"]
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.ImagerPixelSpacing = ["0.2", "0.2"]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", "0", "US"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    stored = np.full(SHAPE, DARK, np.uint16)
    stored[BLOCK] = BRIGHT
    if changes.get("PhotometricInterpretation") == "MONOCHROME1":
        stored = 4095 - stored
    header.Rows, header.Columns = SHAPE
    header.PixelData = stored.tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def write_radiograph(path: Path, modality: str = "DX", **changes: Any) -> Path:
    header = radiograph(modality, **changes)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path
