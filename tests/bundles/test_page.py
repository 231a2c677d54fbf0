"""bundles/README.md explains every key that wetread reads in a bundle, and none besides."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from docs.pages import tables_by_heading, text_of
from wetread.infer.description import _Table, bundle_version, load_description, load_networks

# It has every key, those that may be left out too.
BUNDLE = ROOT / "bundles" / "brain_mr_extraction"
TABLES = tables_by_heading(text_of(ROOT / "bundles" / "README.md"))
Keys = Callable[[Callable[[Path], Any]], set[str]]


@pytest.fixture
def keys_read_by(monkeypatch: pytest.MonkeyPatch) -> Keys:
    """The keys that a function asks a bundle's files for."""
    keys: set[str] = set()
    get = _Table.get

    def noted(table: _Table, key: str, *rest: Any) -> Any:
        keys.add(key)
        return get(table, key, *rest)

    def read(load: Callable[[Path], Any]) -> set[str]:
        load(BUNDLE)
        return keys

    monkeypatch.setattr(_Table, "get", noted)
    return read


def explained(heading: str) -> set[str]:
    """What stands in the first column of the table under a heading, without the table's head."""
    return {key for row in TABLES[heading][1:] for key in re.findall(r"`(\w+)`", row[0])}


def test_every_key_of_dicom_json_is_explained(keys_read_by: Keys) -> None:
    assert explained("configs/dicom.json") == keys_read_by(load_description)


def test_every_key_of_export_json_is_explained(keys_read_by: Keys) -> None:
    names = set(load_networks(BUNDLE))
    assert explained("configs/export.json") == keys_read_by(load_networks) - names


def test_the_key_of_metadata_json_is_named(keys_read_by: Keys) -> None:
    assert keys_read_by(bundle_version) == {"version"}
    assert "`version`" in text_of(ROOT / "bundles" / "README.md")
