"""What SEG, SR and SC copy from their source, and what they say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.sr.coding import Code
from pydicom.uid import ImplicitVRLittleEndian

from phantom import PhantomSeries, write_series
from readings import (
    Reading,
    complaints,
    reading_of,
    result_context,
    result_of,
    segment,
)
from report_content import content_items
from wetread.dicom import terms
from wetread.dicom.result_header import ascii_text

KINDS = ("SEG", "SR", "SC")
NAMES: dict[str, tuple[str | list[str], str]] = {
    "Latin-1": ("ISO_IR 100", "Müller-Lüdenscheidt^Jürgen"),
    "Latin-2": ("ISO_IR 101", "Dvořák^Jiří"),
    "Greek": ("ISO_IR 126", "Διονυσίου^Ελένη"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "Arabic": ("ISO_IR 127", "قباني^لنزار"),
    "Hebrew": ("ISO_IR 138", "שרון^דבורה"),
    "Turkish": ("ISO_IR 148", "Çavuşoğlu^Işıl"),
    "Thai": ("ISO_IR 166", "นามสกุล^ชื่อ"),
    "UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    "GB 18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "GBK": ("GBK", "Wang^XiaoDong=王^小东"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Japanese kana": (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "Japanese alone": (["ISO 2022 IR 6", "ISO 2022 IR 87"], "やまだ^たろう"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_keep_their_bytes_and_character_set(tmp_path: Path, case: str) -> None:
    character_set, name = NAMES[case]
    series = small(tmp_path, character_set=character_set, patient_name=name)
    reading = reading_of(series, result_of(series.mask()))
    source = dcmread(series.paths[0])
    for kind in KINDS:
        dataset = reading.dataset(kind)
        assert dataset.get_item("PatientName").value == source.get_item("PatientName").value
        assert dataset.SpecificCharacterSet == source.SpecificCharacterSet
        assert str(dataset.PatientName) == name


# As other software writes them, with an escape wherever it likes one (PS3.5 annexes H to K).
WRITTEN: dict[str, tuple[str | list[str], bytes]] = {
    "ISO 2022 IR 58": (
        ["", "ISO 2022 IR 58"],
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab= ",
    ),
    "ISO 2022 IR 87": (
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "ISO 2022 IR 87 alone": (
        ["ISO 2022 IR 6", "ISO 2022 IR 87"],
        b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B ",
    ),
    "ISO 2022 IR 149": (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ),
    "ISO 2022 IR 149 alone": (["", "ISO 2022 IR 149"], b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf\x1b(B "),
    "GB18030": ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_names_of_other_software_keep_their_bytes(tmp_path: Path, case: str) -> None:
    """Escapes and padding are not tidied up: the name is the archive's key."""
    character_set, name = WRITTEN[case]
    stand_in = "x" * len(name)
    series = small(tmp_path, character_set=character_set, patient_name=stand_in)
    rewrite(series, stand_in.encode(), name)
    reading = reading_of(series, result_of(series.mask()))
    for kind in KINDS:
        assert reading.dataset(kind).get_item("PatientName").value == name
        assert reading.dataset(kind).SpecificCharacterSet == character_set


@pytest.mark.parametrize("case", ["Latin-1", "Greek", "UTF-8", "Japanese", "Korean"])
def test_objects_in_other_character_sets_are_valid(tmp_path: Path, case: str) -> None:
    character_set, name = NAMES[case]
    series = small(tmp_path, character_set=character_set, patient_name=name)
    reading = reading_of(series, result_of(series.mask()))
    assert [line for kind in KINDS for line in complaints(reading.files[kind], tmp_path)] == []


def test_bytes_that_no_character_set_explains_go_on_as_they_came(tmp_path: Path) -> None:
    """A Latin-1 name under ASCII is common; it is the PACS's key, so it is not repaired."""
    series = small(tmp_path, character_set="", patient_name="Mxller^Hans")
    rewrite(series, b"Mxller", b"M\xfcller")
    reading = reading_of(series, result_of(series.mask()))
    for kind in KINDS:
        assert reading.dataset(kind).get_item("PatientName").value.strip() == b"M\xfcller^Hans"


def test_an_implicit_vr_source_is_copied_too(tmp_path: Path) -> None:
    series = small(tmp_path, character_set="ISO_IR 100", patient_name="Müller^Jürgen")
    for path in series.paths:
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True)
    reading = reading_of(series, result_of(series.mask()))
    for kind in KINDS:
        dataset = reading.dataset(kind)
        assert str(dataset.PatientName) == "Müller^Jürgen"
        assert (dataset.PatientID, dataset.StudyID) == ("PHANTOM-1", "S1")


@pytest.mark.parametrize("kind", KINDS)
def test_patient_and_study_are_the_sources(one_part: Reading, kind: str) -> None:
    dataset, source = one_part.dataset(kind), dcmread(one_part.series.paths[0])
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
        *("StudyDescription", "ReferringPhysicianName"),
    ):
        assert dataset[keyword].value == source[keyword].value, keyword


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_source_lacks_is_empty(tmp_path: Path, kind: str) -> None:
    """Type 2 attributes stand there empty, others do not."""
    series = small(tmp_path)
    for path in series.paths:
        dataset = dcmread(path)
        del dataset.StudyID, dataset.AccessionNumber, dataset.PatientBirthDate, dataset.PatientAge
        dataset.save_as(path)
    dataset = reading_of(series, result_of(series.mask())).dataset(kind)
    empty = (dataset.StudyID, dataset.AccessionNumber, dataset.PatientBirthDate)
    assert not any(empty)
    assert "PatientAge" not in dataset
    assert complaints(dataset, tmp_path) == []


def test_each_object_is_a_series_of_its_own(one_part: Reading) -> None:
    datasets = [one_part.dataset(kind) for kind in KINDS]
    uids = {one.SeriesInstanceUID for one in datasets} | {one.SOPInstanceUID for one in datasets}
    assert len(uids) == 6
    assert one_part.series.series_instance_uid not in uids
    assert [one.SeriesNumber for one in datasets] == [9001, 9002, 9003]
    assert [one.Modality for one in datasets] == ["SEG", "SR", "OT"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_equipment_is_this_installation(one_part: Reading, kind: str) -> None:
    dataset = one_part.dataset(kind)
    assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("wetread", "wetread")
    assert dataset.DeviceSerialNumber == result_context().device_uid
    assert (dataset.SoftwareVersions, dataset.StationName) == ("0.1.0", "READER1")


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_meta_information_names_the_object(one_part: Reading, kind: str) -> None:
    dataset = one_part.dataset(kind)
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_the_jobs(one_part: Reading, kind: str) -> None:
    dataset = one_part.dataset(kind)
    assert (dataset.ContentDate, dataset.ContentTime) == ("20250304", "050607.890000")
    assert dataset.InstanceCreationTime == dataset.SeriesTime == dataset.ContentTime


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        ("+0930", "20250304", "143607.890000"),
        ("-0800", "20250303", "210607.890000"),
        ("", "20250304", "050607.890000"),
    ],
)
def test_times_are_in_the_zone_of_the_source(
    tmp_path: Path, offset: str, date: str, time: str
) -> None:
    """05:06:07 UTC, where the source's times are local and say so."""
    series = small(tmp_path)
    for path in series.paths:
        dataset = dcmread(path)
        dataset.TimezoneOffsetFromUTC = offset
        dataset.save_as(path)
    report = reading_of(series, result_of(series.mask())).dataset("SR")
    assert (report.ContentDate, report.ContentTime) == (date, time)


@pytest.mark.parametrize("kind", ["SEG", "SC"])
def test_lossy_compression_once_done_stays_said(tmp_path: Path, kind: str) -> None:
    series = small(tmp_path)
    for path in series.paths:
        dataset = dcmread(path)
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "12.5"
        dataset.LossyImageCompressionMethod = "ISO_15444_1"
        dataset.save_as(path)
    dataset = reading_of(series, result_of(series.mask())).dataset(kind)
    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionRatio == 12.5
    assert dataset.LossyImageCompressionMethod == "ISO_15444_1"
    assert complaints(dataset, tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_de_identified_source_stays_de_identified(tmp_path: Path, kind: str) -> None:
    series = small(tmp_path)
    for path in series.paths:
        dataset = dcmread(path)
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "removed by hand"
        dataset.save_as(path)
    dataset = reading_of(series, result_of(series.mask())).dataset(kind)
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethod == "removed by hand"


def test_our_own_words_are_ascii(tmp_path: Path) -> None:
    """They are valid in every character set, and no backslash splits them."""
    series = small(tmp_path, character_set="ISO_IR 126", patient_name="Ελένη")
    result = result_of(series.mask())
    model = replace(result.model, name="Größe\\x")
    reading = reading_of(series, replace(result, model=model))
    assert reading.dataset("SC").SeriesDescription == "wetread Gr??e?x montage"
    (item,) = reading.dataset("SEG").SegmentSequence
    assert item.SegmentAlgorithmName == "Gr??e?x 1.2.0"
    assert complaints(reading.files["SEG"], tmp_path) == []


def test_meanings_of_codes_are_ascii_and_short(tmp_path: Path) -> None:
    """A bundle may name its codes in any language and at any length."""
    series = small(tmp_path, character_set="ISO_IR 126", patient_name="Ελένη")
    long = replace(segment(1, 1), type=terms.BRAIN._replace(meaning="Größe " * 20))
    reading = reading_of(series, result_of(series.mask(), (long,)))
    (item,) = reading.dataset("SEG").SegmentSequence
    meaning = ("Gr??e " * 11)[:64]
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == meaning
    (finding,) = content_items(reading.dataset("SR"), Code("121071", "DCM", "Finding"))
    assert finding.ConceptCodeSequence[0].CodeMeaning == meaning
    assert complaints(reading.files["SR"], tmp_path) == []


@pytest.mark.parametrize(
    ("text", "length", "plain"),
    [("brain", 16, "brain"), ("a\\b\nc", 16, "a?b?c"), ("über", 16, "?ber"), ("  ab cd ", 5, "ab")],
)
def test_ascii_text(text: str, length: int, plain: str) -> None:
    assert ascii_text(text, length) == plain


def small(folder: Path, **options: object) -> PhantomSeries:
    """A phantom that is quickly written and read, with every structure in it."""
    return write_series(
        folder,
        shape=(6, 21, 18),
        slice_spacing_mm=18,
        row_spacing_mm=9,
        column_spacing_mm=8,
        **options,
    )


def rewrite(series: PhantomSeries, old: bytes, new: bytes) -> None:
    for path in series.paths:
        raw = path.read_bytes()
        assert old in raw
        path.write_bytes(raw.replace(old, new))
