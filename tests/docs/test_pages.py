"""Metrics and errors are described as they are; links lead somewhere; each folder has its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT
from docs.pages import DEPLOY_PAGE, METRICS, PACKAGE_PAGE, PAGES, name_of, rows_of, text_of
from wetread.errors import ERROR_CODES, CommitmentRefusedError, StoreRefusedError

TOP_FOLDERS = ("apps", "bundles", "deploy", "tests", "triton_models")
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_every_metric_is_described_with_its_labels() -> None:
    rows = [row for row in rows_of(text_of(DEPLOY_PAGE)) if row[0].startswith("`wetread_")]
    found = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert found == {name_of(each): set(each._labelnames) for each in METRICS}


def test_every_error_is_described_with_its_codes() -> None:
    rows = [row for row in rows_of(text_of(PACKAGE_PAGE)) if re.match(r"`\w+Error`", row[0])]
    again = {kind: "yes" if kind.retryable else "no" for kind in ERROR_CODES}  # type: ignore[attr-defined]
    again[StoreRefusedError] = "after A7xx only"
    again[CommitmentRefusedError] = "after 0110, 0112 and 0213 only"
    assert {row[0].strip("`"): row[1:] for row in rows} == {
        kind.__name__: (
            str(codes.exit_code),
            f"{codes.store_status:04X}",
            f"`{codes.label}`",
            again[kind],
        )
        for kind, codes in ERROR_CODES.items()
    }


@by_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", text_of(page))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@by_page
def test_every_path_in_the_text_exists(page: Path) -> None:
    """`deploy/wetread.toml` seen from the top folder, or from the page's own."""
    named = re.findall(rf"`((?:{'|'.join(TOP_FOLDERS)})/[\w./-]*)`", text_of(page))
    made_later = re.compile(r"^triton_models/.+")
    paths = [path for path in named if not made_later.match(path)]
    assert [p for p in paths if not ((ROOT / p).exists() or (page.parent / p).exists())] == []


@pytest.mark.parametrize("folder", [*TOP_FOLDERS, "apps/wetread"])
def test_each_folder_has_a_page(folder: str) -> None:
    assert (ROOT / folder / "README.md").is_file()


def test_the_package_page_names_every_room() -> None:
    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "apps" / "wetread").iterdir()
        if not path.name.startswith("_") and path.suffix in ("", ".py")
    }
    named = set(re.findall(r"`([\w.]+/?)`", text_of(PACKAGE_PAGE)))
    assert rooms <= named


def test_the_pages_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "deploy/README.md", "apps/wetread/README.md", "CHANGELOG.md"} <= names
