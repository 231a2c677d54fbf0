"""A report as an HL7 v2 message, judged and read by hl7apy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message
from pydicom import Dataset

from reports import findings_bytes, volume_bytes, write_report
from wetread.config import Hl7Destination
from wetread.deliver.oru import control_id, message_of
from wetread.deliver.statements import PRELIMINARY, read_report
from wetread.errors import InputError, MissingAttributeError

TO = Hl7Destination(kind="hl7", host="ris", port=2575, receiving_application="RIS")
URGENT = TO.model_copy(update={"positive_priority": "S"})


def parsed(path: Path, to: Hl7Destination = TO) -> Message:
    message = parse_message(message_of(read_report(path), to), VALIDATION_LEVEL.STRICT)
    assert message.validate()
    return message


def result_part(message: Message) -> Message:
    return message.oru_r01_patient_result


def order(message: Message) -> Message:
    return result_part(message).oru_r01_order_observation


def observations(message: Message) -> list[Message]:
    return [each.obx for each in order(message).oru_r01_observation]


def rows(message: Message) -> list[tuple[str, str, str, str, str]]:
    """Type, code, place, value and flag of each OBX."""
    return [
        (
            each.obx_2.to_er7(),
            each.obx_3.obx_3_1.to_er7(),
            each.obx_4.to_er7(),
            each.obx_5.to_er7(),
            each.obx_8.to_er7(),
        )
        for each in observations(message)
    ]


def test_a_finding_that_is_present_is_flagged_and_one_that_is_not_is_not(tmp_path: Path) -> None:
    found = rows(parsed(write_report(tmp_path)))
    assert found[3:] == [
        ("ST", "112039", "1.1", "Pneumonia", ""),
        ("CE", "121071", "1.2", "233604007^Pneumonia^SCT", "A"),
        ("CE", "363698007", "1.3", "39607008^Lung^SCT", ""),
        ("CE", "121052", "1.4", "52101004^Present^SCT", "A"),
        ("NM", "122157", "1.5", "87.0", ""),
        ("NM", "122411", "1.6", "43.0", ""),
        ("ST", "112039", "2.1", "Pleural effusion", ""),
        ("CE", "121071", "2.2", "60046008^Pleural effusion^SCT", ""),
        ("CE", "121052", "2.3", "272519000^Absent^SCT", ""),
        ("NM", "122157", "2.4", "12.0", ""),
        ("NM", "122411", "2.5", "50.0", ""),
    ]


def test_it_names_the_study_the_report_and_the_accession_number(tmp_path: Path) -> None:
    path = write_report(tmp_path)
    report, message = read_report(path), parsed(path)
    assert [row[:1] + row[3:4] for row in rows(message)[:3]] == [
        ("HD", f"^{report.study_instance_uid}^ISO"),
        ("HD", f"^{report.sop_instance_uid}^ISO"),
        ("ST", "ACC\\S\\42"),
    ]
    assert order(message).obr.obr_18.to_er7() == "ACC\\S\\42"


def test_measurements_have_their_unit_and_say_of_what_kind_they_are(tmp_path: Path) -> None:
    report = write_report(tmp_path, volume_bytes())
    numbers = [each for each in observations(parsed(report)) if each.obx_2.to_er7() == "NM"]
    units = [each.obx_6.to_er7() for each in numbers]
    assert units == ["ml^milliliter^UCUM", *["[hnsf'U]^Hounsfield unit^UCUM"] * 2]
    methods = [each.obx_17.to_er7() for each in numbers]
    assert methods == ["", "373098007^Mean^SCT", "386136009^Standard Deviation^SCT"]
    measured = read_report(report).statements[0].measured
    assert [each.obx_5.to_er7() for each in numbers] == [each.value for each in measured]


def test_the_patient_is_that_of_the_report_with_every_delimiter_escaped(tmp_path: Path) -> None:
    patient = result_part(parsed(write_report(tmp_path))).oru_r01_patient.pid
    assert patient.pid_3.to_er7() == "PAT\\F\\7^^^HOSP\\T\\1"
    spellings = "~".join(each.to_er7() for each in patient.pid_5)
    assert spellings == "Sørensen^Åse^M^PhD^Dr.^^^A~山田^花子^^^^^^I"
    assert (patient.pid_7.to_er7(), patient.pid_8.to_er7()) == ("19700102", "F")


def test_a_name_in_another_character_set_arrives_in_unicode(tmp_path: Path) -> None:
    def in_latin(report: Dataset) -> None:
        report.SpecificCharacterSet, report.PatientName = "ISO_IR 100", "Müller^Jürgen"

    message = parsed(write_report(tmp_path, change=in_latin))
    assert result_part(message).oru_r01_patient.pid.pid_5.to_er7() == "Müller^Jürgen^^^^^^A"
    assert message.msh.msh_18.to_er7() == "UNICODE UTF-8"


@pytest.mark.parametrize("value", ["A\rOBX|9|ST|x||evil", "A\x1c\x0dB", "A\nB", "A\\F\\B"])
def test_no_value_breaks_out_of_its_field(tmp_path: Path, value: str) -> None:
    path = write_report(tmp_path)
    plain = message_of(read_report(path), TO)
    report = read_report(path)
    text = message_of(replace(report, accession_number=value), TO)
    assert not set(text) & {"\n", "\x0b", "\x1c"}
    fields = [len(each.split("|")) for each in text.split("\r")]
    assert fields == [len(each.split("|")) for each in plain.split("\r")]


def test_it_is_preliminary_and_says_so(tmp_path: Path) -> None:
    message = parsed(write_report(tmp_path))
    assert order(message).obr.obr_25.to_er7() == "P"
    assert {each.obx_11.to_er7() for each in observations(message)} == {"P"}
    assert order(message).nte[0].nte_3.to_er7() == PRELIMINARY


def test_a_correction_says_so_under_the_same_order_number(tmp_path: Path) -> None:
    first = write_report(tmp_path)
    second = write_report(tmp_path, findings_bytes(corrects=True))
    earlier, later = parsed(first), parsed(second)
    assert order(later).obr.obr_25.to_er7() == "C"
    assert {each.obx_11.to_er7() for each in observations(later)} == {"C"}
    assert order(later).obr.obr_3.to_er7() == order(earlier).obr.obr_3.to_er7()
    assert later.msh.msh_10.to_er7() != earlier.msh.msh_10.to_er7()


def test_the_same_report_is_the_same_message(tmp_path: Path) -> None:
    path = write_report(tmp_path)
    assert message_of(read_report(path), TO) == message_of(read_report(path), TO)
    assert len(control_id(read_report(path))) == 20


def test_only_a_positive_report_asks_for_priority(tmp_path: Path) -> None:
    """No message lowers a priority, and without the setting none raises one."""
    (tmp_path / "negative").mkdir()
    positive = write_report(tmp_path)
    negative = write_report(tmp_path / "negative", findings_bytes(False))
    message = parsed(positive, URGENT)
    assert order(message).oru_r01_timing_qty[0].tq1[0].to_er7() == "TQ1|1||||||||S"
    for path, to in ((negative, URGENT), (positive, TO), (negative, TO)):
        assert "TQ1" not in message_of(read_report(path), to)
    assert "A" not in {row[-1] for row in rows(parsed(negative, URGENT))}


def test_a_report_of_nobody_is_no_message(tmp_path: Path) -> None:
    path = write_report(tmp_path, change=lambda report: setattr(report, "PatientID", ""))
    with pytest.raises(MissingAttributeError, match="no Patient ID"):
        read_report(path)


def test_another_object_is_no_message(tmp_path: Path) -> None:
    def other(report: Dataset) -> None:
        report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
        report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID

    with pytest.raises(InputError, match="no Comprehensive 3D SR"):
        read_report(write_report(tmp_path, change=other))
