"""Prints deploy/traceability.md: from each hazard and threat to its control, items and test.

The hazards are those of deploy/safety.md, the items the rooms of apps/wetread/README.md, and which
items a test verifies is read from what it imports.
"""

# ruff: noqa: E501
from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
HEAD = """\
# Traceability
In the form of IEC 62304: from hazards to requirements, software items and tests. It is a start for the file of
whoever puts wetread to clinical use; it is no certificate, and no process has been audited. Made by
`python tests/docs/traceability.py` from [safety.md](safety.md), the
[table of rooms](../apps/wetread/README.md) and the tests; a test holds it to them.

## Safety class
Proposed for the system: B. It gives a preliminary result beside a radiologist's own reading, and care does not
depend on it. Where results decide what is read first, a missed finding can delay care: whoever uses it so
judges by ISO 14971 whether that is C. Items share processes, and no segregation between them is claimed, so
each has the class of the system.

## Where the clauses are answered
| clause | where |
|---|---|
| 4.2, 7 risk management | [safety.md](safety.md); by ISO 14971: no, its manufacturer's |
| 5.1 planning | no plan of its own; what has to pass is in [tests/README.md](../tests/README.md) |
| 5.2 requirements | [settings](README.md), [hazards](safety.md), [conformance.md](conformance.md) |
| 5.3, 5.4 architecture and design | [apps/wetread/README.md](../apps/wetread/README.md); the order of items is held by `test_layers.py` |
| 5.5 units | `tests/unit`, one folder an item |
| 5.6, 5.7 integration and system | `tests/network`, `tests/pipeline`, `tests/faults`, `tests/viewers`, see [tests/README.md](../tests/README.md) |
| 5.8 release | [CHANGELOG.md](../CHANGELOG.md); known anomalies: there and in [safety.md](safety.md#what-this-does-not-do) |
| 6, 9 maintenance and problem resolution | no process of its own: its manufacturer's; what was fixed is in [CHANGELOG.md](../CHANGELOG.md) |
| 8 configuration management | git; [constraints.txt](../constraints.txt) |
| 8.1.2 SOUP | every package with version and licence: `make sbom` writes `sbom.cdx.json` |

"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD + "## Items", *_items(), "", "## From hazard to test", *_traces(), ""])


def _items() -> Iterator[str]:
    yield "| item | what it does | unit tests |"
    yield "|---|---|---|"
    for room, what in _rooms().items():
        folders = [TESTS / "unit" / room, TESTS / "unit" / f"test_{room}.py"]
        found = [f"`tests/{each.relative_to(TESTS)}`" for each in folders if each.exists()]
        yield f"| `{room}` | {what} | {', '.join(found) or 'by those of the items above it'} |"


def _traces() -> Iterator[str]:
    yield "| | hazard or threat | requirement | items | test |"
    yield "|---|---|---|---|---|"
    for letter, heading in (("H", "Hazards"), ("T", "Threats")):
        for number, (first, second, control, test) in enumerate(_rows(heading), 1):
            risk = first if letter == "H" else f"{first}: {second}"
            items = ", ".join(f"`{each}`" for each in _verified(test)) or "the whole"
            yield f"| {letter}{number} | {risk} | {control} | {items} | {test} |"


def _rows(heading: str) -> Iterator[list[str]]:
    text = (ROOT / "deploy/safety.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and "::" in cells[-1]:
            yield cells


def _rooms() -> dict[str, str]:
    text = (ROOT / "apps/wetread/README.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for line in text.partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        for room in re.findall(r"`(\w+)(?:/|\.py)`", cells[0]) if line.startswith("|") else ():
            found[room] = cells[1]
    return found


def _verified(test: str) -> list[str]:
    """The rooms that the file of a test imports, itself or by a name of wetread."""
    file = TESTS / test.strip("`").partition("::")[0]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    rooms = {name.split(".")[1] for name in names if name.startswith("wetread.")}
    return sorted(rooms & _rooms().keys())


if __name__ == "__main__":
    sys.stdout.write(page())
