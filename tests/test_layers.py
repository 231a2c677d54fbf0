"""Imports go down only; stages never import each other; heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "apps" / "wetread"
# From the top. Rooms of one line never import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("web",),
    ("demo", "offline"),
    ("service", "console", "page", "backup", "doctor", "starting", "conformance"),
    ("durable",),
    ("worklist", "pipeline", "commitment", "forwarding", "traces", "lease", "gauges"),
    ("deciding", "following", "reading", "tasks", "watch", "health"),
    ("explain",),
    ("models",),
    ("corrections",),
    ("triton", "label", "viewer", "pull"),
    ("receive", "route", "infer", "encode", "deliver", "phantom", "access"),
    ("ledger",),
    ("deidentify",),
    ("dicom", "audit"),
    ("config", "metrics", "logs", "bundle_components"),
    ("study", "results", "uids", "files", "markup", "environments", "httpd", "checked"),
    ("errors", "background"),
)
LEVEL = {room: level for level, rooms in enumerate(reversed(LAYERS)) for room in rooms}
HEAVY = {
    "torch": {"infer", "models", "explain", "bundle_components"},
    "monai": {"infer", "models", "explain", "bundle_components"},
    "captum": {"explain"},
    "lime": {"explain"},
    "shap": {"explain"},
    "openvino": {"infer", "models", "triton"},
    "onnxruntime": {"models", "triton"},
    "tritonclient": {"infer", "triton"},
    "pynetdicom": {"dicom", "receive", "deliver"},
    "fpdf": {"dicom"},
    "pydantic": {"config"},
    "dbos": {"durable"},
    "obstore": {"receive"},
    "opentelemetry": {"traces"},
    "typer": {"cli"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(module: Path) -> None:
    here = room_of(module)
    if here == "__init__":
        return
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "wetread" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != here:
            assert LEVEL[parts[1]] < LEVEL[here], f"{here} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_rooms(module: Path) -> None:
    for name in imports(module):
        rooms = HEAVY.get(name.split(".")[0])
        assert rooms is None or room_of(module) in rooms, f"{module.name} imports {name}"


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} - {"__init__"} == set(LEVEL)


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {module.name: len(module.read_text().splitlines()) for module in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}
