"""Nothing of a patient survives, what belongs together stays so, and a key brings it back."""

from __future__ import annotations

import itertools
import subprocess
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2024b as edition
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from conftest import BIN
from phantom import write_series
from wetread.config import DeidentifyConfig
from wetread.deidentify.dataset import Deidentifier
from wetread.deidentify.profile import action, options_of, table
from wetread.deidentify.pseudonyms import Pseudonyms, make_key
from wetread.deidentify.restore import Reidentifier
from wetread.deidentify.values import moved
from wetread.errors import ConfigError, UnsupportedSeriesError

MARK = "ZQ7"
BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
NUMBERS = {"US", "UL", "SS", "SL", "FD", "FL", "IS", "DS", "AT", "SV", "UV"}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Always the same: with another, one date is by chance shifted to where the next one was."""
    path = tmp_path / "deid.key"
    make_key(path)
    path.write_text("5e" * 32 + "\n", encoding="ascii")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Dataset:
    [path] = write_series(tmp_path / "study", shape=(1, 16, 16)).paths
    return dcmread(path)


def deidentifier(key: Path, **settings: object) -> Deidentifier:
    return Deidentifier(DeidentifyConfig.model_validate({"key_file": key, **settings}))


def written(dataset: Dataset) -> bytes:
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


class Marks:
    """Values that are unlike each other, of each representation that can hold a mark."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1000)
        self.used: dict[str, str] = {}

    def value(self, vr: str, tag: str) -> object:
        number = next(self._numbers)
        text = {
            "DA": f"1{number % 1000:03d}0203",
            "DT": f"1{number % 1000:03d}0203040506",
            "TM": f"01{number % 60:02d}{number // 60 % 60:02d}.{number:06d}",
            "UI": f"1.2.3.{number}.7",
            "AS": f"{number % 1000:03d}D",
            "PN": f"{MARK}{number}^X",
        }.get(vr, f"{MARK}{number}")
        if vr in NUMBERS or vr == "SQ":
            return None
        self.used[text] = tag
        return text.encode() if vr in BINARY else text


def put(dataset: Dataset, tag: str, marks: Marks) -> bool:
    number = Tag(int(tag, 16))
    if not dictionary_has_tag(number) or number.group in (0, 2, 4) or number.element == 0:
        return False
    vr = dictionary_VR(number).split(" ")[0]
    if vr == "SQ":
        item = Dataset()
        for keyword, kind in (("PersonName", "PN"), ("TextValue", "UT")):
            setattr(item, keyword, marks.value(kind, tag))
        item.ReferencedSOPInstanceUID = marks.value("UI", tag)
        dataset.add_new(number, "SQ", Sequence([item]))
        return True
    value = marks.value(vr, tag)
    if value is not None:
        dataset.add_new(number, vr, value)
    return value is not None


KEPT_IN_PLACE = {"SOPClassUID", "SpecificCharacterSet", "PixelData"}


def marked(image: Dataset, marks: Marks) -> Dataset:
    """Every attribute of the table, at the top and two sequences deep; private and odd ones."""
    tags = [tag for tag in table() if "X" not in tag and keyword_for_tag(int(tag, 16))]
    tags = [tag for tag in tags if keyword_for_tag(int(tag, 16)) not in KEPT_IN_PLACE]
    count = sum(put(image, tag, marks) for tag in tags)
    assert count > 560
    inner, outer = Dataset(), Dataset()
    for tag in tags:
        if dictionary_VR(int(tag, 16)) != "SQ":
            put(inner, tag, marks)
    outer.ReferencedSOPSequence = Sequence([inner])
    image.ReferencedSeriesSequence = Sequence([outer])
    block = inner.private_block(0x0029, "ACME", create=True)
    block.add_new(0x10, "LO", marks.value("LO", "private"))
    image.private_block(0x0019, "ACME", create=True).add_new(1, "UN", marks.value("UN", "private"))
    image.add_new(0x60000010, "US", 16)
    image.add_new(0x60003000, "OW", marks.value("OW", "overlay"))
    image.add_new(0x60024000, "LT", marks.value("LT", "overlay"))
    image.add_new(0x50003000, "OW", marks.value("OW", "curve"))
    image.add_new(0x50042500, "LO", marks.value("LO", "curve"))
    image.BurnedInAnnotation = "NO"
    image.preamble = f"{MARK}preamble".encode().ljust(128, b"\0")
    marks.used[f"{MARK}preamble"] = "preamble"
    image.file_meta.SourceApplicationEntityTitle = f"{MARK}AE"
    marks.used[f"{MARK}AE"] = "file meta"
    return image


def survivors(marks: Marks, content: bytes) -> dict[str, str]:
    return {tag: text for text, tag in marks.used.items() if text.encode() in content}


@pytest.mark.parametrize("dates", ["shift", "remove"])
def test_no_value_of_the_table_survives_in_the_bytes(key: Path, image: Dataset, dates: str) -> None:
    marks = Marks()
    original = marked(image, marks)
    before = survivors(marks, written(original))
    assert len(before) > 560
    made = deidentifier(key, dates=dates).apply(original, Path("a.dcm"))
    left = survivors(marks, written(made))
    if dates == "shift":
        # Whole days: the time of day stays, as the option says.
        left = {tag: text for tag, text in left.items() if dictionary_VR(int(tag, 16)) != "TM"}
    assert left == {}
    assert MARK.encode() not in written(made)


def test_the_table_is_that_of_the_standard() -> None:
    theirs: dict[str, str] = {}
    for name in dir(edition):
        if name.endswith("_TAGS") and name != "ALL_TAGS":
            basic = name.removesuffix("_TAGS").replace("_STAR", "*").replace("_", "/")
            for tag in getattr(edition, name):
                shown = f"{tag[0]:04X}{tag[1]:04X}"
                if len(tag) == 4:
                    shown = "50XXXXXX" if tag[0] == 0x5000 else f"60XX{tag[1]:04X}"
                theirs[shown] = basic
    assert {tag: row.basic for tag, row in table().items()} == theirs
    assert len(theirs) == 620


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"dates": "remove"}, {"X": 383, "D": 127, "U": 56, "Z": 51, "C": 3}),
        ({"dates": "shift"}, {"X": 288, "D": 68, "U": 56, "Z": 41, "C": 167}),
        ({"dates": "keep"}, {"X": 288, "D": 68, "U": 56, "Z": 41, "K": 164, "C": 3}),
    ],
)
def test_each_option_does_to_so_many_attributes_what_it_should(
    settings: dict[str, object], counts: dict[str, int]
) -> None:
    options = options_of(DeidentifyConfig.model_validate({"key_file": "k", **settings}))
    assert Counter(action(row, options) for row in table().values()) == counts


def test_free_text_is_removed_where_an_option_would_clean_it(key: Path, image: Dataset) -> None:
    image.Allergies, image.PatientSex, image.StationName = "peanuts", "F", "CT1"
    image.InstitutionName = "Hospital"
    made = deidentifier(key, keep=["patient", "device", "institution"]).apply(image, Path("a"))
    assert "Allergies" not in made
    assert (made.PatientSex, made.StationName, made.InstitutionName) == ("F", "CT1", "Hospital")
    codes = [each.CodeValue for each in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108", "113109", "113112"]


def test_it_says_what_was_done(key: Path, image: Dataset) -> None:
    made = deidentifier(key).apply(image, Path("a.dcm"))
    assert made.PatientIdentityRemoved == "YES"
    assert made.DeidentificationMethod.startswith("wetread")
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = {each.CodeValue: each.CodeMeaning for each in made.DeidentificationMethodCodeSequence}
    assert codes["113100"] == "Basic Application Confidentiality Profile"
    assert "113107" in codes


def test_dates_of_a_patient_move_together_and_by_other_days_for_another(
    key: Path, image: Dataset
) -> None:
    one, two = Dataset(), Dataset()
    one.update(image)
    two.update(image)
    one.StudyDate, two.StudyDate = "20240228", "20240301"
    one.file_meta = two.file_meta = image.file_meta
    made = [deidentifier(key).apply(each, Path("a")).StudyDate for each in (one, two)]
    assert made[0] != "20240228"
    assert Pseudonyms.from_file(key).shift("a", "") != Pseudonyms.from_file(key).shift("b", "")
    from datetime import datetime

    first, second = (datetime.strptime(each, "%Y%m%d") for each in made)  # noqa: DTZ007
    assert (second - first).days == 2


@pytest.mark.parametrize(
    ("text", "later"),
    [
        ("20240228", "20240301"),
        ("2024.02.28", "20240301"),
        ("20240228235959.123456+0100", "20240301235959.123456+0100"),
        ("202402", "202402"),
        ("2024", "2024"),
        ("20241340", ""),
        ("yesterday", ""),
    ],
)
def test_a_date_moves_as_exact_as_it_was(text: str, later: str) -> None:
    from datetime import timedelta

    assert moved(text, timedelta(days=2)) == later


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
        ({"RecognizableVisualFeatures": "YES"}, "recognizable visual features"),
        ({"SOPClassUID": UID("1.2.840.10008.5.1.4.1.1.6.1")}, "does not say whether"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "does not say whether"),
        ({"SOPClassUID": UID("1.2.840.10008.5.1.4.1.1.104.1")}, "a document"),
    ],
)
def test_what_may_show_who_it_is_is_refused(
    key: Path, image: Dataset, attributes: dict[str, object], said: str
) -> None:
    image.pop("BurnedInAnnotation", None)
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    with pytest.raises(UnsupportedSeriesError, match=said):
        deidentifier(key).apply(image, Path("a.dcm"))


def test_a_burned_in_picture_is_taken_if_allowed(key: Path, image: Dataset) -> None:
    image.BurnedInAnnotation = "YES"
    made = deidentifier(key, allow_burned_in=True).apply(image, Path("a.dcm"))
    assert made.BurnedInAnnotation == "YES"


def test_the_same_object_gives_the_same_bytes_and_another_key_others(
    key: Path, image: Dataset, tmp_path: Path
) -> None:
    content = written(image)
    twice = [
        written(deidentifier(key).apply(dcmread(BytesIO(content)), Path("a"))) for _ in range(2)
    ]
    assert twice[0] == twice[1]
    make_key(tmp_path / "other.key")
    other = written(deidentifier(tmp_path / "other.key").apply(image, Path("a")))
    assert other != twice[0]


def test_the_result_is_as_conformant_as_the_image_was(
    key: Path, image: Dataset, tmp_path: Path
) -> None:
    def errors(dataset: Dataset) -> set[str]:
        path = tmp_path / "a.dcm"
        path.write_bytes(written(dataset))
        said = subprocess.run([BIN / "dciodvfy", path], capture_output=True, text=True, check=False)
        return {line for line in said.stderr.splitlines() if line.startswith("Error")}

    image.InstitutionName, image.OperatorsName, image.StationName = "Hospital", "A^B", "CT1"
    assert errors(deidentifier(key).apply(image, Path("a"))) <= errors(image)


@pytest.mark.parametrize("content", ["", "abc", "00" * 31, "not hexadecimal" * 8])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.key").write_text(content)
    with pytest.raises(ConfigError, match="key"):
        Pseudonyms.from_file(tmp_path / "bad.key")


def test_a_key_is_for_its_owner_alone_and_is_never_replaced(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="cannot make"):
        make_key(key)


def test_what_was_removed_comes_back_with_key_and_original(key: Path, image: Dataset) -> None:
    image.PatientName, image.StudyDate, image.AccessionNumber = "Müller^Änne", "20240228", "A1"
    image.SpecificCharacterSet = "ISO_IR 100"
    made = deidentifier(key).apply(image, Path("a"))
    back = Reidentifier(Pseudonyms.from_file(key), [image]).apply({Path("b"): made})[Path("b")]
    again = dcmread(BytesIO(written(back)))
    for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyInstanceUID",
                    "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):  # fmt: skip
        assert again.get(keyword) == image.get(keyword), keyword
    assert "PatientIdentityRemoved" not in again
