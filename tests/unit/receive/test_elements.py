"""Reading UIDs from raw data sets: our scanner agrees with pydicom, and survives anything."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from wetread.errors import InputError, MissingAttributeError
from wetread.receive.body import Body
from wetread.receive.commands import Command, parse_command, response_to
from wetread.receive.elements import Encoding, scan
from wetread.receive.header import identify, part10_header
from wetread.receive.multipart import MultipartReader, PartData, PartEnd, PartStart

STUDY = 0x0020000D
SYNTAXES = {
    "1.2.840.10008.1.2": Encoding(implicit=True, little_endian=True),
    "1.2.840.10008.1.2.1": Encoding(implicit=False, little_endian=True),
    "1.2.840.10008.1.2.2": Encoding(implicit=False, little_endian=False),
}
FILES = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"]


def body_of(data: bytes, folder: Path) -> Body:
    body = Body(folder, lambda _size: None)
    body.write(data)
    return body


def nested() -> Dataset:
    """Sequences of undefined length, one in the other, before the UIDs."""
    inner, outer, dataset = Dataset(), Dataset(), Dataset()
    inner.StudyInstanceUID = "9.9.9"
    outer.ReferencedImageSequence = Sequence([inner])
    outer["ReferencedImageSequence"].is_undefined_length = True
    dataset.ReferencedStudySequence = Sequence([outer, Dataset()])
    dataset["ReferencedStudySequence"].is_undefined_length = True
    for item in (*dataset.ReferencedStudySequence, *outer.ReferencedImageSequence):
        item.is_undefined_length_sequence_item = True
    dataset.StudyInstanceUID = "1.2.3"
    dataset.PatientComments = "later"
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nested_sequences_are_stepped_over(syntax):
    """The UID of the data set is found, not one of an item."""
    encoding, stream = SYNTAXES[syntax], io.BytesIO()
    dcmwrite(
        stream,
        nested(),
        implicit_vr=encoding.implicit,
        little_endian=encoding.little_endian,
    )
    stream.seek(0)
    values, _ = scan(stream, encoding, {STUDY})
    assert values[STUDY].rstrip(b"\0") == b"1.2.3"


@pytest.mark.parametrize("name", FILES)
def test_agrees_with_pydicom(name, tmp_path):
    """The identity of a real file is what pydicom reads there."""
    path = Path(str(pydicom.data.get_testdata_file(name, download=False)))
    dataset, content = dcmread(path), path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    identity = identify(
        body_of(content[start:], tmp_path), str(dataset.file_meta.TransferSyntaxUID)
    )
    assert identity.sop_class_uid == dataset.SOPClassUID
    assert identity.uids.study_instance_uid == dataset.StudyInstanceUID
    assert identity.uids.series_instance_uid == dataset.SeriesInstanceUID
    assert identity.uids.sop_instance_uid == dataset.SOPInstanceUID
    assert identity.modality == dataset.Modality


@given(st.binary(max_size=400), st.sampled_from([*SYNTAXES, "1.2.840.10008.1.2.1.99"]))
def test_any_bytes_are_refused_in_our_own_words(tmp_path_factory, data, syntax):
    """Noise is an InputError, never something else."""
    with pytest.raises(InputError):
        identify(body_of(data, tmp_path_factory.getbasetemp()), syntax)


def test_long_element_before_the_uids(tmp_path):
    """A private element of 200 kB before the UIDs does not hide them."""
    dataset = dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False)))
    dataset.private_block(0x0009, "LONG", create=True).add_new(1, "OB", b"\0" * 200_000)
    stream = io.BytesIO()
    dcmwrite(stream, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    content = stream.getvalue()
    start = 144 + int.from_bytes(content[140:144], "little")
    identity = identify(body_of(content[start:], tmp_path), "1.2.840.10008.1.2.1")
    assert identity.uids.study_instance_uid == dataset.StudyInstanceUID


def test_missing_attribute_is_named(tmp_path):
    """The error names the attribute and its tag."""
    with pytest.raises(MissingAttributeError, match=r"\(0020,000D\)"):
        identify(body_of(b"", tmp_path), "1.2.840.10008.1.2")


def test_header_is_readable():
    """pydicom reads our file meta information and finds nothing wrong."""
    header = part10_header(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        source_ae_title="CT1",
    )
    meta = dcmread(io.BytesIO(header)).file_meta
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.SourceApplicationEntityTitle == "CT1"
    assert meta.FileMetaInformationGroupLength == len(header) - 144


def test_response_names_what_it_answers():
    """A response has the field, the message and the instance of its request."""
    answer = parse_command(response_to(Command(0x0020, 7, True, "1.2", "1.2.3"), 0x0211, "no"))
    assert (answer.field, answer.sop_class_uid, answer.sop_instance_uid) == (0x8020, "1.2", "1.2.3")
    assert not answer.is_request


@given(st.binary(max_size=200))
def test_any_command_bytes(data):
    """Noise as a command set is a ValueError."""
    with pytest.raises(ValueError, match="element"):
        parse_command(data)


@given(
    st.lists(st.binary(min_size=1, max_size=60).filter(lambda b: b"--edge" not in b), min_size=1),
    st.integers(1, 50),
)
def test_multipart_in_any_pieces(parts, size):
    """However the bytes are cut, the parts are the same."""
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    whole = b"".join(head + part + b"\r\n" for part in parts) + b"--edge--"
    reader, found = MultipartReader("edge"), []
    for start in range(0, len(whole), size):
        for event in reader.feed(whole[start : start + size]):
            if isinstance(event, PartStart):
                assert event.content_type == "application/dicom"
                found.append(b"")
            elif isinstance(event, PartData):
                found[-1] += event.data
            else:
                assert isinstance(event, PartEnd)
    assert found == parts
    assert reader.is_complete
