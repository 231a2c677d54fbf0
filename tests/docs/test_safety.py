"""Every hazard and threat has a control, and a test that exists."""

from __future__ import annotations

import ast
import re

import pytest

from conftest import ROOT
from docs.pages import tables_by_heading, text_of

PAGE = ROOT / "deploy" / "safety.md"
ROWS = [
    row
    for heading in ("Hazards", "Threats")
    for row in tables_by_heading(text_of(PAGE))[heading]
    if row[-1] != "test"
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_test_of_a_row_exists(row: list[str]) -> None:
    assert all(cell.strip() for cell in row)
    file, _, name = row[-1].strip("`").partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_are_rows() -> None:
    named = re.findall(r"`[\w/]+\.py::\w+`", text_of(PAGE))
    assert len(named) >= 30
    assert len(named) == len(set(named))
