"""Every key that wetread reads in a bundle is described, with whether it must be there."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from docs.pages import tables_by_heading, text_of
from wetread.errors import ConfigError
from wetread.infer import description
from wetread.infer.bundle import _NOT_OURS
from wetread.infer.description import bundle_version, load_description, load_networks
from wetread.models import parity
from wetread.models.calibration import MOST_CASES
from wetread.models.record import BuiltModel, Figures
from wetread.triton import configs

PAGE = ROOT / "bundles" / "README.md"
NETWORKS = ROOT / "triton_models" / "README.md"
# They have every key that there is.
BUNDLE = ROOT / "bundles" / "brain_mr_extraction"
CLASSIFIER = ROOT / "bundles" / "lung_ct_classification"
NETWORK = "brain_mr_extraction"
# Heading → file, and the places in it that have those keys.
PLACES: Mapping[str, tuple[str, tuple[tuple[str | int, ...], ...]]] = {
    "`accepts`": ("dicom.json", (("accepts",),)),
    "`segments`": ("dicom.json", (("segments", 0),)),
    "code": (
        "dicom.json",
        tuple(("segments", 0, key) for key in ("category", "type", "anatomic_region")),
    ),
    "`classes`": ("dicom.json", (("classes", 1),)),
    "`networks`": ("export.json", (("networks", NETWORK),)),
    "tensor": ("export.json", tuple(("networks", NETWORK, key) for key in ("input", "output"))),
}
Keys = dict[str, str]


def described(heading: str) -> Keys:
    """Key → whether it must be there."""
    tables = tables_by_heading(text_of(PAGE)).items()
    [rows] = [rows for title, rows in tables if title.split(":")[0] == heading]
    return {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`")}


EVERY_KEY = [(heading, *row) for heading in PLACES for row in described(heading).items()]


def named(place: tuple[str | int, ...]) -> str:
    """As an error names it: segments[0].type."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in place))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Place and key of everything that is looked for in the bundle's two files."""
    found: set[tuple[str, str]] = set()
    get = description._Table.get

    def recorded(table: Any, key: str, *rest: Any) -> Any:
        found.add((table.place, key))
        return get(table, key, *rest)

    monkeypatch.setattr(description._Table, "get", recorded)
    load_description(BUNDLE)
    load_description(CLASSIFIER)
    load_networks(BUNDLE)
    return found


@pytest.mark.parametrize("heading", PLACES)
def test_every_key_is_described_and_no_other(heading: str, asked: set[tuple[str, str]]) -> None:
    for place in PLACES[heading][1]:
        known = {key for where, key in asked if where == named(place)}
        assert set(described(heading)) == known


def test_every_place_is_looked_at(asked: set[tuple[str, str]]) -> None:
    looked_at = {named(place) for _, places in PLACES.values() for place in places}
    described_elsewhere = re.compile(r".*brain_mr_locator.*|classes\[[02]\]|classes\[\d\]\..*")
    others = {place for place, _ in asked if not described_elsewhere.match(place)} - looked_at
    assert others == {"", "networks"}
    assert {key for place, key in asked if place == ""} == {
        "accepts",
        "segments",
        "segments_overlap",
        "classes",
        "networks",
    }


def without(bundle: Path, heading: str, key: str) -> Iterator[str]:
    """Take the key out of each of its places in turn, and say which."""
    name, places = PLACES[heading]
    path = bundle / "configs" / name
    whole = path.read_text(encoding="utf-8")
    for place in places:
        content = json.loads(whole)
        table = content
        for part in place:
            table = table[part]
        table.pop(key)
        path.write_text(json.dumps(content), encoding="utf-8")
        yield named((*place, key))


def load(bundle: Path) -> None:
    load_description(bundle)
    load_networks(bundle)


@pytest.mark.parametrize(("heading", "key", "must"), EVERY_KEY)
def test_a_key_must_be_there_if_the_page_says_so(
    heading: str, key: str, must: str, tmp_path: Path
) -> None:
    original = CLASSIFIER if heading == "`classes`" else BUNDLE
    bundle = shutil.copytree(original, tmp_path / "bundle")
    for place in without(bundle, heading, key):
        if must == "no":
            load(bundle)
        else:
            with pytest.raises(ConfigError, match=rf"{re.escape(place)} is missing"):
                load(bundle)


def test_the_one_key_of_metadata_json_is_named(asked: set[tuple[str, str]]) -> None:
    """The rest of that file is MONAI's."""
    asked.clear()
    bundle_version(BUNDLE)
    assert asked == {("", "version")}
    assert "| `configs/metadata.json` | MONAI's | `version`," in text_of(PAGE)


@pytest.mark.parametrize(("heading", "kind"), [("`build.json`", BuiltModel), ("Figures", Figures)])
def test_the_record_of_a_build_is_described(heading: str, kind: type) -> None:
    rows = tables_by_heading(text_of(NETWORKS))[heading]
    keys = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    assert keys == [field.name for field in dataclasses.fields(kind)]


def test_the_limits_of_the_gate_are_the_true_ones() -> None:
    text = " ".join(text_of(NETWORKS).split())
    limits = parity.FLOAT32
    expected = (
        f"agreement at least {limits.agreement}, mean difference at most {limits.mean_difference}"
    )
    assert expected in text
    wider = parity.REDUCED
    assert f"agreement at least {wider.agreement}, mean difference at most" in text
    assert f"at most {wider.share_of_spread} of the spread" in text
    assert f"up to {MOST_CASES} cases" in text


def test_what_triton_is_told_is_described() -> None:
    text = " ".join(text_of(NETWORKS).split())
    shortest, usual, longest = configs.FREE_LENGTHS
    assert f"up to {configs.MAX_PICTURES} pictures or {configs.MAX_VOLUMES} volumes" in text
    assert f"{shortest} to {longest}, and {usual} is what a GPU is tuned for" in text


def test_the_container_is_the_one_that_is_configured_for() -> None:
    page = text_of(ROOT / "deploy" / "README.md")
    named = set(re.findall(r"nvidia/tritonserver:[\w.-]+", page))
    assert named == {configs.CONTAINER}
    tag = configs.CONTAINER_TAG
    assert f"| `{tag}` |" in page
    assert f"| **{tag.partition('-')[0]}** |" in page
    assert f"TensorRT {configs.TENSORRT_MAJOR}." in page
    mounted = configs.CACHE.rpartition("/")[0]
    assert f"-v {mounted}/H100:{mounted} " in page


def test_what_is_left_out_of_the_processing_is_described() -> None:
    assert all(f"`{name}`" in text_of(PAGE) for name in _NOT_OURS)


def test_every_bundle_stands_in_the_table() -> None:
    folders = {path.parent.name for path in (ROOT / "bundles").glob("*/configs")}
    linked = set(re.findall(r"\]\((\w+)/docs/README\.md\)", text_of(PAGE)))
    assert linked == folders
