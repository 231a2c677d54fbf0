"""What a bundle declares: each fault names file and key; each refusal says what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facts import series
from wetread.errors import ConfigError, UnsupportedSeriesError
from wetread.infer.description import (
    Accepts,
    bundle_version,
    load_description,
    load_networks,
)

HEAD_MR = Accepts(
    modality=("MR",),
    min_instances=20,
    max_slice_spacing_mm=7.0,
    not_image_type=("LOCALIZER",),
    not_body_part_examined=("KNEE",),
)

Break = Callable[[dict[str, Any]], Any]
DICOM_FAULTS: list[tuple[Break, str]] = [
    (lambda c: c.pop("accepts"), "accepts is missing"),
    (lambda c: c.update(extra=1), "extra is not a known key"),
    (lambda c: c["accepts"].pop("modality"), r"accepts\.modality is missing"),
    (lambda c: c["accepts"].update(modality="MR"), r"accepts\.modality has the wrong type: 'MR'"),
    (lambda c: c["accepts"].update(modality=[1]), r"accepts\.modality must be a list of strings"),
    (lambda c: c["accepts"].update(min_instances="3"), r"accepts\.min_instances has the wrong"),
    (lambda c: c["accepts"].update(min_instances=True), r"accepts\.min_instances has the wrong"),
    (lambda c: c["accepts"].update(max_slice=3), r"accepts\.max_slice is not a known key"),
    (lambda c: c.update(segments=[3]), r"segments\[0\] must be an object, got 3"),
    (lambda c: c["segments"][0].pop("label"), r"segments\[0\]\.label is missing"),
    (lambda c: c["segments"][0].update(label_value=0), r"segments\[0\]\.label_value must be 1"),
    (lambda c: c["segments"][0].update(label_value=65536), r"segments\[0\]\.label_value must be 1"),
    (lambda c: c["segments"][0].update(segment_number=2), r"segments must be numbered 1, 2, 3"),
    (lambda c: c["segments"][0].update(cielab=[101, 0, 0]), r"segments\[0\]\.cielab must be"),
    (
        lambda c: c["segments"][0].update(cielab=["a", 0, 0]),
        r"segments\[0\]\.cielab must be a list",
    ),
    (lambda c: c.update(segments_overlap=1), r"segments_overlap has the wrong type: 1"),
    (
        lambda c: c["segments"][0].update(label_value=3) or c.update(segments_overlap=True),
        r"segments may overlap, so each label_value must be 1, 2, 4, 8",
    ),
    (lambda c: c["segments"][0]["type"].pop("scheme"), r"segments\[0\]\.type\.scheme is missing"),
    (
        lambda c: c["segments"].append({**c["segments"][0], "segment_number": 2}),
        "segments has a label_value twice",
    ),
]
EXPORT_FAULTS: list[tuple[Break, str]] = [
    (lambda c: c.clear(), "networks is missing"),
    (lambda c: c["networks"].clear(), "networks names no network"),
    (lambda c: net(c).pop("config_id"), r"networks\.tiny_ellipsoid\.config_id is missing"),
    (lambda c: net(c).update(axes=9), r"networks\.tiny_ellipsoid\.axes is not a known key"),
    (lambda c: net(c).update(opset=9), r"networks\.tiny_ellipsoid\.opset must be 13 to 20, got 9"),
    (
        lambda c: net(c)["input"].update(shape=["a"]),
        r"networks\.tiny_ellipsoid\.input\.shape must be a list of numbers",
    ),
    (
        lambda c: net(c)["output"].update(dtype="float16"),
        r"networks\.tiny_ellipsoid\.output\.dtype must be float32, got 'float16'",
    ),
]


def net(content: dict[str, Any]) -> dict[str, Any]:
    return content["networks"]["tiny_ellipsoid"]


@pytest.mark.parametrize(("change", "message"), DICOM_FAULTS, ids=[m for _, m in DICOM_FAULTS])
def test_a_fault_in_dicom_json_names_file_and_key(tiny, change: Break, message: str) -> None:
    tiny.edit("dicom.json", change)
    with pytest.raises(ConfigError, match=rf"configs/dicom\.json: {message}") as caught:
        load_description(tiny.path)
    assert caught.value.hint == "see bundles/README.md"


@pytest.mark.parametrize(("change", "message"), EXPORT_FAULTS, ids=[m for _, m in EXPORT_FAULTS])
def test_a_fault_in_export_json_names_file_and_key(tiny, change: Break, message: str) -> None:
    tiny.edit("export.json", change)
    with pytest.raises(ConfigError, match=rf"configs/export\.json: {message}"):
        load_networks(tiny.path)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dicom\.json: No such file") as caught:
        load_description(tmp_path)
    assert "folder of a bundle" in caught.value.hint


def test_a_file_that_is_not_json_is_named(tiny) -> None:
    (tiny.path / "configs/metadata.json").write_text("version: 1")
    with pytest.raises(ConfigError, match=r"metadata\.json: not JSON"):
        bundle_version(tiny.path)


def test_what_is_written_is_what_is_read(tiny) -> None:
    description = load_description(tiny.path)
    assert description.accepts == Accepts(modality=("CT",), min_instances=3)
    assert [segment.label for segment in description.segments] == ["Ellipsoid"]
    assert description.segments[0].cielab == (60.0, 40.0, 20.0)
    assert load_networks(tiny.path)["tiny_ellipsoid"].output.shape == (1, 2, -1, -1, -1)
    assert bundle_version(tiny.path) == "0.0.1"


def test_22_mr_images_5_mm_apart_are_accepted() -> None:
    HEAD_MR.check("brain", series(count=22, modality="MR", slice_spacing_mm=5.0))


def test_what_a_series_does_not_say_is_not_held_against_it() -> None:
    HEAD_MR.check("brain", series(count=20, modality="MR"))


@pytest.mark.parametrize(
    ("count", "attributes", "message"),
    [
        (60, {"modality": "CT"}, "MR with ≥ 20 instances, got CT with 60"),
        (60, {}, "MR with ≥ 20 instances, got no modality with 60"),
        (19, {"modality": "MR"}, "MR with ≥ 20 instances, got MR with 19"),
        (
            22,
            {"modality": "MR", "slice_spacing_mm": 7.5},
            "slices at most 7 mm apart, got 7.5 mm",
        ),
        (
            22,
            {"modality": "MR", "image_type": ("ORIGINAL", "PRIMARY", "localizer")},
            "no image type localizer, got ORIGINAL, PRIMARY, localizer",
        ),
        (22, {"modality": "MR", "body_part_examined": "Knee"}, "no body part Knee"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_came(
    count: int, attributes: dict[str, Any], message: str
) -> None:
    came = series(count=count, **attributes)
    with pytest.raises(UnsupportedSeriesError, match=f"brain wants {message}") as caught:
        HEAD_MR.check("brain", came)
    assert caught.value.series_instance_uid == came.series_instance_uid
    assert "rule" in caught.value.hint


def test_more_images_than_the_region_has_are_refused() -> None:
    crop = Accepts(modality=("MR",), min_instances=20, max_instances=64)
    crop.check("hippocampus", series(count=64, modality="MR"))
    with pytest.raises(UnsupportedSeriesError, match="wants at most 64 instances, got 65"):
        crop.check("hippocampus", series(count=65, modality="MR"))


def test_frames_count_as_images() -> None:
    """One enhanced instance of 22 frames is 22 images."""
    HEAD_MR.check("brain", series(count=1, frames=22, modality="MR"))


def test_letter_case_in_dicom_json_does_not_matter(tiny) -> None:
    tiny.edit(
        "dicom.json", lambda c: c["accepts"].update(modality=["ct"], not_image_type=["Localizer"])
    )
    accepts = load_description(tiny.path).accepts
    accepts.check("tiny", series(modality="CT"))
    with pytest.raises(UnsupportedSeriesError, match="no image type LOCALIZER"):
        accepts.check("tiny", series(modality="CT", image_type=("LOCALIZER",)))
