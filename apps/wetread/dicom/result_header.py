"""What every result object says before its content: patient, study, series, equipment, times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from io import BytesIO

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from wetread.dicom import terms
from wetread.dicom.volume import SourceVolume
from wetread.results import ModelIdentity, PredecessorReference, ResultContext
from wetread.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, result_uid

NOT_FOR_DIAGNOSTIC_USE = "Not for diagnostic use"
MANUFACTURER = "wetread"
SERIES_NUMBERS = {
    "SEG": 9001,
    "SR": 9002,
    "SC": 9003,
    "PM": 9004,
    "RTSTRUCT": 9005,
    "PR": 9006,
    "PDF": 9007,
}

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there, even if empty.
ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
WHERE_KNOWN = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "StudyDescription",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)


def result_header(
    source: SourceVolume,
    context: ResultContext,
    model: ModelIdentity,
    *,
    kind: str,
    sop_class_uid: str,
    modality: str,
    noun: str,
) -> Dataset:
    """A dataset with file meta information and all modules that our objects share.

    Patient and study attributes are the bytes of the source, under its character set; those of
    type 2 that it lacks are empty. Our own text is ASCII, which every character set contains.
    """
    header = Dataset()
    _copy_patient_and_study(source.instances[0], header)
    moment = _local(context.created_at, source.instances[0])
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    header.SOPClassUID = sop_class_uid
    header.SOPInstanceUID = result_uid(context.job_uid, kind)
    header.SeriesInstanceUID = result_uid(context.job_uid, f"{kind} series")
    header.SeriesNumber, header.InstanceNumber = SERIES_NUMBERS[kind], 1
    header.Modality = modality
    header.SeriesDescription = ascii_text(f"wetread {model.name} {noun}", 64)
    header.InstanceCreationDate = header.SeriesDate = header.ContentDate = date
    header.InstanceCreationTime = header.SeriesTime = header.ContentTime = time
    header.Manufacturer = header.ManufacturerModelName = MANUFACTURER
    header.DeviceSerialNumber = serial_number(context)
    header.SoftwareVersions = ascii_text(context.software_version, 64)
    header.StationName = ascii_text(context.station_name, 16)
    header.file_meta = file_meta_of(header)
    return header


def serial_number(context: ResultContext) -> str:
    """The device UID, which is all that tells one installation from another."""
    return ascii_text(context.device_uid, 64)


def ascii_text(text: str, length: int) -> str:
    """`text` in ASCII without control characters or backslashes, at most `length` long."""
    plain = "".join(char if " " <= char <= "~" and char != "\\" else "?" for char in text)
    return plain[:length].strip()


def file_bytes(dataset: Dataset) -> bytes:
    """The dataset as a DICOM file (PS3.10); the same dataset always gives the same bytes."""
    # Or pydicom would write names anew, without the escapes and padding that they came with.
    dataset.set_original_encoding(False, True, dataset._character_set)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def code_item(code: Code) -> Dataset:
    """A code sequence item (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    if code.scheme_version:
        item.CodingSchemeVersion = code.scheme_version
    item.CodeMeaning = plain_code(code).meaning
    return item


def plain_code(code: Code) -> Code:
    """The code with a meaning in ASCII that a CodeMeaning can hold."""
    return code._replace(meaning=ascii_text(code.meaning, 64))


def reference_item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A reference to one instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def instance_references(datasets: Iterable[Dataset]) -> list[Dataset]:
    """References to instances, in their order."""
    return [reference_item(one.SOPClassUID, one.SOPInstanceUID) for one in datasets]


def referenced_series(source: SourceVolume) -> Dataset:
    """An item of the Referenced Series Sequence with every source instance (PS3.3 C.12.2)."""
    item = Dataset()
    item.SeriesInstanceUID = source.instances[0].SeriesInstanceUID
    item.ReferencedInstanceSequence = instance_references(source.instances)
    return item


def add_predecessor_image(dataset: Dataset, predecessor: PredecessorReference | None) -> None:
    """Say in an image (SEG or SC) which earlier one it replaces.

    These IODs have no Predecessor Documents Sequence; the General Image and General Reference
    modules (PS3.3 C.12.4) offer Referenced Image Sequence with a purpose of reference, CID 7201.
    The SR states the replacement in the way that its own IOD has for it.
    """
    if predecessor is None:
        return
    item = predecessor_item(predecessor)
    item.PurposeOfReferenceCodeSequence = [code_item(terms.TEMPORAL_PREDECESSOR)]
    dataset.ReferencedImageSequence = [item]
    series = Dataset()
    series.SeriesInstanceUID = predecessor.series_instance_uid
    series.ReferencedInstanceSequence = [predecessor_item(predecessor)]
    if predecessor.study_instance_uid == dataset.StudyInstanceUID:
        dataset.ReferencedSeriesSequence = [*dataset.ReferencedSeriesSequence, series]
        return
    study = Dataset()
    study.StudyInstanceUID = predecessor.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    dataset.StudiesContainingOtherReferencedInstancesSequence = [study]


def predecessor_item(predecessor: PredecessorReference) -> Dataset:
    """A reference to an earlier result."""
    return reference_item(predecessor.sop_class_uid, predecessor.sop_instance_uid)


def predecessor_document(predecessor: PredecessorReference) -> Dataset:
    """An item of the Predecessor Documents Sequence (PS3.3 C.17.2)."""
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID = predecessor.study_instance_uid
    series.SeriesInstanceUID = predecessor.series_instance_uid
    series.ReferencedSOPSequence = [predecessor_item(predecessor)]
    study.ReferencedSeriesSequence = [series]
    return study


def algorithm_item(model: ModelIdentity) -> Dataset:
    """The model as an algorithm (PS3.3 Table 10-19)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(terms.ARTIFICIAL_INTELLIGENCE)]
    item.AlgorithmName = ascii_text(model.name, 64)
    item.AlgorithmVersion = ascii_text(model.version, 64)
    item.AlgorithmParameters = f"weights_sha256={model.weights_sha256}"
    item.AlgorithmSource = MANUFACTURER
    return item


def add_body_part(dataset: Dataset, source: Dataset) -> None:
    """Laterality is type 2C (PS3.3 C.7.3.1): asked of paired body parts and of unknown ones."""
    if source.get("BodyPartExamined"):
        dataset.BodyPartExamined = source.BodyPartExamined
    if source.get("Laterality") or not source.get("BodyPartExamined"):
        dataset.Laterality = source.get("Laterality")


def copy_lossy_compression(source: Dataset, target: Dataset) -> None:
    """Lossy compression once done stays said (PS3.3 C.7.6.1.1.5)."""
    lossy = source.get("LossyImageCompression") == "01"
    target.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if source.get(keyword):
                setattr(target, keyword, source.get(keyword))


def _copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    for keyword in (*WHERE_KNOWN, *ALWAYS):
        tag = Tag(tag_for_keyword(keyword) or 0)
        element: DataElement | RawDataElement | None = None
        if tag in source:
            element = source.get_item(tag)
        if element is None:
            if keyword in ALWAYS:
                setattr(target, keyword, None)
            continue
        if isinstance(element, RawDataElement):
            # Undecoded bytes go on undecoded; an implicit VR source has not said the VR.
            vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(tag)
            value = element.value or b""
            value += b" " * (len(value) % 2)
            element = element._replace(
                VR=vr, is_implicit_VR=False, value=value, length=len(value), is_little_endian=True
            )
        target[tag] = element


def _local(moment: datetime, source: Dataset) -> datetime:
    """`moment` in the zone that the source's times are in, where it says so."""
    offset = str(source.get("TimezoneOffsetFromUTC") or "").strip()
    if len(offset) != 5 or not offset[1:].isdigit():
        return moment
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return moment.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))


def file_meta_of(header: Dataset) -> FileMetaDataset:
    """The file meta information of an object of ours (PS3.10 7.1), Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
