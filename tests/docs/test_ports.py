"""The list of ports has every port and address of the settings, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from conftest import ROOT
from docs.pages import tables_by_heading, text_of
from wetread.config import Config, Section

TABLES = tables_by_heading(text_of(ROOT / "deploy" / "ports.md"))
# Keys that lead to or come from another machine.
ADDRESSES = {"port", "url", "triton_url", "studies", "syslog", "issuer", "archive", "endpoint"}
PLACES = {"callers": "AE_TITLE"}


def settings(section: type[Section], place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its default, however deep."""
    for name, field in section.model_fields.items():
        yield f"{place}{name}", field.default
        is_table = str(field.annotation).startswith("dict[")
        key = f".{PLACES.get(name, 'NAME')}" if is_table else ""
        for inner in sections_in(field.annotation):
            yield from settings(inner, f"{place}{name}{key}.")


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for each in get_args(annotation):
        yield from sections_in(each)


def listed(heading: str) -> dict[str, str]:
    """Key → port, as the page has them."""
    rows = [row for row in TABLES[heading] if row[0].startswith("`")]
    assert all(cell for row in rows for cell in row)
    return {row[0].strip("`"): row[1] for row in rows}


def test_every_connection_is_listed_and_no_other() -> None:
    known = {key for key, _ in settings(Config) if key.rpartition(".")[2] in ADDRESSES}
    assert set(listed("Doors")) | set(listed("Calls")) == known


def test_the_port_of_a_door_is_the_true_one() -> None:
    defaults = dict(settings(Config))
    for key, said in listed("Doors").items():
        assert re.match(r"\d+", said)[0] == str(defaults[key]), key
