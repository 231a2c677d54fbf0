"""One small series or file for each kind of fault that real data have shown.

`KINDS` holds them by name. Each writes a folder; the files at fault are called `odd…`, whole ones
of the same series otherwise. What becomes of both is written beside it. The folder's name makes
the UIDs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from phantom import PhantomSeries, write_series
from wetread.uids import derived_uid

READABLE, REFUSED, NOT_AN_IMAGE = "readable", "refused", "not_an_image"
SMALL = (4, 12, 10)
SR, PLAN, DOSE, RAW = (
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.66",
)
PICTURE: dict[str, Any] = {"BitsAllocated": 8, "PixelData": b"\0\0"}
ULTRASOUND, MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.1.2"
PIXELS, PER_FRAME = Tag("PixelData"), "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True)
class Kind:
    """How to write it, and what becomes of the odd files and of the others."""

    write: Callable[[Path], object]
    odd: str
    words: str = ""
    others: str = ""


def _series(folder: Path, **grid: Any) -> PhantomSeries:
    return write_series(folder, **{"shape": SMALL, "seed": folder.name, **grid})


def _changed(change: Callable[[Dataset], object], **grid: Any) -> Callable[[Path], None]:
    """A series whose second file (or only one) is changed and called odd."""

    def write(folder: Path) -> None:
        paths = _series(folder, **grid).paths
        path = paths[min(1, len(paths) - 1)]
        image = dcmread(path)
        change(image)
        if isinstance(image.get("SOPClassUID"), str):
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        path.unlink()
        image.save_as(folder / "odd.dcm")

    return write


def _whole_series(change: Callable[[Dataset, int], object], **grid: Any) -> Callable[[Path], None]:
    """A series in which every file is changed, and odd."""

    def write(folder: Path) -> None:
        for number, path in enumerate(_series(folder, **grid).paths):
            image = dcmread(path)
            change(image, number)
            image.save_as(path.with_name(f"odd{path.name}"))
            path.unlink()

    return write


def _bytes(change: Callable[[bytes], bytes], **grid: Any) -> Callable[[Path], None]:
    """A series whose second file has other bytes and is called odd."""

    def write(folder: Path) -> None:
        paths = _series(folder, **grid).paths
        path = paths[min(1, len(paths) - 1)]
        (folder / "odd.dcm").write_bytes(change(path.read_bytes()))
        path.unlink()

    return write


def _set(**values: Any) -> Callable[[Dataset], None]:
    """Other values; None takes the attribute out."""

    def change(image: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, value)

    return change


def _raw(keyword: str, value: bytes, vr: str) -> Callable[[Dataset], None]:
    """Bytes that pydicom would not write by itself."""

    def change(image: Dataset) -> None:
        tag = Tag(keyword)
        image[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


def _object(sop_class_uid: str, **values: Any) -> Callable[[Path], None]:
    """One file of that class that is not made of a phantom."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _file(folder.name, sop_class_uid, **values).save_as(
            folder / "odd.dcm", enforce_file_format=True
        )

    return write


def _rename(image: Dataset, what: str) -> None:
    """Make it another instance."""
    image.SOPInstanceUID = derived_uid(image.SOPInstanceUID, what)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID


def _file(seed: str, sop_class_uid: str, **values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = UID(sop_class_uid)
    dataset.SOPInstanceUID = derived_uid(seed, "odd", sop_class_uid)
    dataset.StudyInstanceUID = derived_uid(seed, "odd study", sop_class_uid)
    dataset.SeriesInstanceUID = derived_uid(seed, "odd series", sop_class_uid)
    dataset.PatientName, dataset.PatientID = "Odd^File", "ODD-1"
    _set(**values)(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    return dataset


def _with_object(sop_class_uid: str) -> Callable[[Path], None]:
    """A whole series with one more object in it."""

    def write(folder: Path) -> None:
        image = dcmread(_series(folder).paths[0])
        uids = {each: image[each].value for each in ("StudyInstanceUID", "SeriesInstanceUID")}
        _file(folder.name, sop_class_uid, **uids).save_as(
            folder / "odd.dcm", enforce_file_format=True
        )

    return write


def _with_localizer(folder: Path) -> None:
    image = dcmread(_series(folder).paths[0])
    _rename(image, "localizer")
    image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    image.save_as(folder / "odd.dcm")


def _bare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = _file(folder.name, RAW)
    image.save_as(folder / "odd.dcm", enforce_file_format=True)
    content = (folder / "odd.dcm").read_bytes()
    (folder / "odd.dcm").write_bytes(content[content.index(b"\x08\x00\x16\x00") :])


def _content(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "odd.dcm").write_bytes(content)

    return write


def _deflated(folder: Path) -> None:
    path = folder / "odd.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    image = _file(folder.name, RAW)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-20])


def _rle_segments(repeats: int) -> Callable[[Dataset], None]:
    """Two segments of the same bytes, of `repeats` times 16; the image has 120 pixels."""

    def change(image: Dataset) -> None:
        segment = (b"\x0f" + b"\1" * 16) * repeats + b"\0" * 2
        head = np.array([2, 64, 64 + len(segment)] + [0] * 13, "<u4").tobytes()
        image.PixelData = encapsulate([head + segment * 2])

    return change


def _noise_for_jpeg(image: Dataset) -> None:
    image.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    image.PixelData = encapsulate([b"\xff\xd8" + b"\1" * 60])


def _overlay_in_pixels(image: Dataset, number: int) -> None:
    """12 bits, with an overlay of old in bit 15."""
    image.BitsStored, image.HighBit = 12, 11
    stored = np.frombuffer(image.PixelData, "<u2") | (0x8000 if number == 1 else 0)
    image.PixelData = stored.astype("<u2").tobytes()
    image.add_new((0x6000, 0x0100), "US", 16)
    image.add_new((0x6000, 0x0102), "US", 15)


def _signed_12_bits(image: Dataset, _number: int) -> None:
    """Stored values less 1024 in 12 bits whose sign does not go on above them."""
    image.BitsStored, image.HighBit, image.PixelRepresentation = 12, 11, 1
    image.RescaleIntercept = 0
    stored = np.frombuffer(image.PixelData, "<u2").astype(int) - 1024
    image.PixelData = (stored & 0x0FFF).astype("<u2").tobytes()


def _same_instance_twice(folder: Path) -> None:
    paths = _series(folder).paths
    for number, path in enumerate(paths):
        path.rename(folder / f"odd{number}.dcm")
    image = dcmread(folder / "odd1.dcm")
    image.PatientComments = "another content"
    image.save_as(folder / "odd9.dcm")


def _again(**differences: Any) -> Callable[[Path], None]:
    """Every position twice; the second time with other values of these attributes."""

    def write(folder: Path) -> None:
        for path in _series(folder).paths:
            image = dcmread(path)
            for keyword, value in differences.items():
                setattr(image, keyword, type(value)(1))
            image.save_as(folder / f"odd{path.name}")
            _rename(image, "again")
            _set(**differences)(image)
            image.save_as(folder / f"odd2{path.name}")
            path.unlink()

    return write


def _unequal(image: Dataset, number: int) -> None:
    x, y, z = image.ImagePositionPatient
    image.ImagePositionPatient = [x, y, z + (0, 0, 7, 10)[number]]


def _two_multi_frame(folder: Path) -> None:
    """Two time points of one series, a multi-frame image each."""
    [first] = _series(folder, enhanced=True, modality="MR").paths
    image = dcmread(first)
    shutil.move(first, folder / "odd1.dcm")
    _rename(image, "second")
    image.InstanceNumber = 2
    image.save_as(folder / "odd2.dcm")


def _classic_and_enhanced(folder: Path) -> None:
    [enhanced] = _series(folder, enhanced=True).paths
    enhanced.rename(folder / "odd.dcm")
    _series(folder)


def _directory(folder: Path) -> None:
    _object("1.2.840.10008.1.3.10")(folder)


KINDS: dict[str, Kind] = {
    "classic": Kind(_whole_series(lambda *_: None), READABLE),
    "enhanced": Kind(_changed(_set(), enhanced=True), READABLE),
    "big rows in RLE": Kind(
        _changed(_set(), transfer_syntax_uid=RLELossless), READABLE, "", READABLE
    ),
    "text": Kind(_content(b"Dear colleague,\n" * 40), NOT_AN_IMAGE, "no DICOM file"),
    "empty file": Kind(_content(b""), NOT_AN_IMAGE, "no DICOM file"),
    "nothing after the prefix": Kind(_content(b"\0" * 128 + b"DICM"), REFUSED, "ends inside"),
    "no preamble": Kind(_bare, REFUSED, "without preamble and file meta information"),
    "no stream to inflate": Kind(_deflated, REFUSED, "cannot be parsed, or cut short"),
    "media directory": Kind(_directory, NOT_AN_IMAGE, "media directory"),
    "report": Kind(_object(SR), NOT_AN_IMAGE, "Comprehensive SR Storage, no image"),
    "plan": Kind(_object(PLAN), NOT_AN_IMAGE, "RT Plan Storage, no image"),
    "dose": Kind(_object(DOSE, **PICTURE), NOT_AN_IMAGE, "RT Dose Storage"),
    "raw data": Kind(_object(RAW), NOT_AN_IMAGE, "Raw Data Storage"),
    "report in a series": Kind(_with_object(SR), NOT_AN_IMAGE, "no image", READABLE),
    "raw data in a series": Kind(_with_object(RAW), NOT_AN_IMAGE, "no image", READABLE),
    "localizer in a series": Kind(_with_localizer, REFUSED, "is a localizer", READABLE),
    "ultrasound": Kind(
        _object(ULTRASOUND, **PICTURE), REFUSED, "is Ultrasound Image Storage, not a CT"
    ),
    "mammogram": Kind(
        _object(MAMMOGRAM, **PICTURE), REFUSED, "Mammography X-Ray Image .*, not a CT"
    ),
    "no UIDs": Kind(
        _changed(_set(StudyInstanceUID=None, SeriesInstanceUID="")),
        REFUSED,
        "no StudyInstanceUID, SeriesInstanceUID",
        REFUSED,
    ),
    "no pixels": Kind(_changed(_set(PixelData=None)), REFUSED, "has no Pixel Data", REFUSED),
    "colour": Kind(_changed(_set(SamplesPerPixel=3)), REFUSED, "3 samples a pixel", REFUSED),
    "no position": Kind(
        _changed(_set(ImagePositionPatient=None)), REFUSED, "no Image Position", REFUSED
    ),
    "empty orientation": Kind(
        _changed(_set(ImageOrientationPatient="")), REFUSED, "no Image Orientation", REFUSED
    ),
    "no intercept": Kind(
        _changed(_set(RescaleIntercept=None)), REFUSED, "has no Rescale Intercept", REFUSED
    ),
    "slope of nothing": Kind(_changed(_set(RescaleSlope=0)), REFUSED, "Rescale Slope 0", REFUSED),
    "half a spacing": Kind(
        _changed(_set(PixelSpacing=4)), REFUSED, r"Pixel Spacing .* has 1 values, not 2", REFUSED
    ),
    "no size of pixels": Kind(
        _whole_series(lambda image, _: _set(PixelSpacing=[0, 0])(image)),
        REFUSED,
        "spacing 0 × 0 mm",
    ),
    "five cosines": Kind(
        _changed(_raw("ImageOrientationPatient", b"1\\0\\0\\0\\1 ", "DS")),
        REFUSED,
        "has 5 values, not 6",
        REFUSED,
    ),
    "a word for a number": Kind(
        _changed(_raw("RescaleSlope", b"one ", "DS")), REFUSED, "Rescale Slope", REFUSED
    ),
    "a number of frames": Kind(
        _changed(_raw("NumberOfFrames", b"1A", "IS")), REFUSED, "'1A', which is no number", REFUSED
    ),
    "infinite intercept": Kind(
        _changed(_raw("RescaleIntercept", b"inf ", "DS")), REFUSED, "no number", REFUSED
    ),
    "unknown VR": Kind(
        _changed(_raw("Rows", b"\1\0", "??")),
        REFUSED,
        r"Rows \(0028,0010\) has \d+ values",
        REFUSED,
    ),
    "two classes": Kind(
        _changed(_raw("SOPClassUID", b"1.2\\1.3", "UI")), REFUSED, "has 2 values, not 1", REFUSED
    ),
    "text for a number": Kind(
        _changed(_raw("Columns", b"ten ", "LO")), REFUSED, "'ten', which is no number", REFUSED
    ),
    "bytes for a text": Kind(
        _changed(_raw("ImageType", b"\1\2", "OB")), REFUSED, "Image Type .* is no text", REFUSED
    ),
    "three bytes of numbers": Kind(
        _changed(_raw("BitsStored", b"\1\2\3\4\5\6", "FL")),
        REFUSED,
        "cannot be understood",
        REFUSED,
    ),
    "padding for every pixel": Kind(
        _changed(_raw("PixelPaddingValue", b"\0\1" * 700, "US")), REFUSED, "has 700 values", REFUSED
    ),
    "rows of nothing": Kind(_changed(_set(Rows=0)), REFUSED, "has no Rows", REFUSED),
    "frames in a class for one": Kind(
        _changed(_set(NumberOfFrames=2)), REFUSED, "has 2 frames, in a class for one", REFUSED
    ),
    "frames without description": Kind(
        _changed(lambda image: image[PER_FRAME].value.pop(), enhanced=True),
        REFUSED,
        "has 4 frames and describes 3",
    ),
    "no functional groups": Kind(
        _changed(_set(PerFrameFunctionalGroupsSequence=None), enhanced=True),
        REFUSED,
        "no Per-Frame Functional Groups Sequence",
    ),
    "cut in the header": Kind(
        _bytes(lambda content: content[: content.index(b"\x28\x00\x30\x00") + 9]),
        REFUSED,
        "",
        REFUSED,
    ),
    "cut in native pixels": Kind(
        _bytes(lambda content: content[:-40]), REFUSED, "cannot decode|ends inside", REFUSED
    ),
    "cut in encoded pixels": Kind(
        _bytes(lambda content: content[:-30], transfer_syntax_uid=JPEGLSLossless),
        REFUSED,
        "ends inside an element",
        REFUSED,
    ),
    "noise for pixels": Kind(
        _changed(
            lambda image: _set(PixelData=encapsulate([b"\xff\xd8" + b"\1" * 60]))(image),
            transfer_syntax_uid=JPEGLSLossless,
        ),
        REFUSED,
        r"cannot decode JPEG-LS .*\(1\.2\.840\.10008\.1\.2\.4\.80\)",
        REFUSED,
    ),
    "RLE segment too long": Kind(
        _changed(_rle_segments(9), transfer_syntax_uid=RLELossless), READABLE, "", READABLE
    ),
    "RLE segment too short": Kind(
        _changed(_rle_segments(0), transfer_syntax_uid=RLELossless),
        REFUSED,
        "cannot decode RLE Lossless",
        REFUSED,
    ),
    "noise for 12 bits of JPEG": Kind(
        _changed(_noise_for_jpeg, transfer_syntax_uid=JPEGLSLossless),
        REFUSED,
        "cannot decode JPEG Extended",
        REFUSED,
    ),
    "more bits than stored": Kind(
        _changed(_set(BitsStored=8, HighBit=7)), REFUSED, "do not fit in the 8 bits", REFUSED
    ),
    "overlay in the pixels": Kind(_whole_series(_overlay_in_pixels), READABLE),
    "signed 12 bits": Kind(_whole_series(_signed_12_bits), READABLE),
    "same instance twice": Kind(_same_instance_twice, REFUSED, "carry the same SOP Instance UID"),
    "one slice": Kind(
        _whole_series(lambda *_: None, shape=(1, 12, 10)), REFUSED, "1 slice, a volume needs 2"
    ),
    "gap": Kind(
        _whole_series(lambda *_: None, shape=(8, 12, 10), fault="gap"),
        REFUSED,
        r"gap of 10\.0 mm between instances 4 and 5, others are 5\.0 mm",
    ),
    "unequal spacing": Kind(
        _whole_series(_unequal),
        REFUSED,
        r"gap of 12\.0 mm .*, others are 8\.0 mm; 2 of 3 distances differ",
    ),
    "tilt": Kind(_whole_series(lambda *_: None, fault="tilt"), REFUSED, r"tilted by 15\.0°"),
    "mixed orientation": Kind(
        _whole_series(lambda *_: None, fault="mixed orientation"), REFUSED, "mixed orientations"
    ),
    "repeated position": Kind(
        _whole_series(lambda *_: None, fault="duplicate position"),
        REFUSED,
        r"instances 3 and 5 are at the same position \(-?\d+\.\d mm along the normal\)",
    ),
    "every position twice": Kind(_again(PatientComments="2"), REFUSED, "4 repeated in all"),
    "two acquisitions": Kind(_again(AcquisitionNumber=2), READABLE),
    "two echoes": Kind(_again(EchoTime=4.6), READABLE),
    "two temporal positions": Kind(_again(TemporalPositionIdentifier=2), READABLE),
    "two b-values": Kind(_again(DiffusionBValue=1000.0), READABLE),
    "two multi-frame images": Kind(_two_multi_frame, READABLE),
    "classic and enhanced": Kind(_classic_and_enhanced, READABLE, "", READABLE),
}
