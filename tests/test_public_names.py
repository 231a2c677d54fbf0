"""What others use is described, typed, and named as the project names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "apps" / "wetread"
MODULES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
Described = Function | ast.ClassDef

# What the standard or this project calls otherwise; the name to use stands behind it.
NOT_OURS = {
    "study_uid": "study_instance_uid",
    "series_uid": "series_instance_uid",
    "sop_uid": "sop_instance_uid",
    "instance_uid": "sop_instance_uid",
    "transfer_syntax": "transfer_syntax_uid",
    "calling_ae": "calling_ae_title",
    "called_ae": "called_ae_title",
    "aet": "calling_ae_title or called_ae_title",
    "caller_ae_title": "calling_ae_title",
    "remote_ae_title": "calling_ae_title or called_ae_title",
    "presentation_ctx": "presentation_context",
    "assoc": "association",
    "dest": "destination",
    "label_id": "label_value",
    "segment_id": "segment_number",
    "seg_number": "segment_number",
    "task_id": "job_id",
    "timeout": "timeout_seconds",
    "interval": "…_seconds",
    "delay": "…_seconds",
    "duration": "…_seconds",
    "spacing_in_mm": "spacing_mm",
    "volume_cc": "volume_ml",
}
# Our own title, where there is only one.
OWN_TITLE = "ae_title"
UNITLESS = re.compile(r".*_(secs?|ms|millis|msec|sec|cm3|cc|bytes_size)$")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public(node: ast.AST) -> Iterator[Described]:
    """Classes and functions that another module may use, nested ones of a function left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Described) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def arguments_of(function: Function) -> list[ast.arg]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [*named, *(each for each in (given.vararg, given.kwarg) if each)]


def names_in(tree: ast.Module) -> Iterator[str]:
    """Everything that is given a name: arguments, attributes of classes, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, Function):
            yield node.name.lstrip("_")


in_every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)


@in_every_module
def test_what_is_public_is_described(path: Path) -> None:
    tree = tree_of(path)
    silent = [each.name for each in public(tree) if not ast.get_docstring(each)]
    if path.name != "__init__.py" and not ast.get_docstring(tree):
        silent.append("the module")
    assert silent in ([], ["__call__"])


@in_every_module
def test_what_is_public_is_typed(path: Path) -> None:
    untyped = [
        f"{function.name}({argument.arg})"
        for function in public(tree_of(path))
        if isinstance(function, Function)
        for argument in arguments_of(function)
        if argument.annotation is None and argument.arg not in ("self", "cls")
    ]
    untyped += [
        function.name
        for function in public(tree_of(path))
        if isinstance(function, Function) and function.returns is None
    ]
    assert untyped == []


@in_every_module
def test_things_have_the_names_that_the_project_gives_them(path: Path) -> None:
    found = {name for name in names_in(tree_of(path)) if name in NOT_OURS or UNITLESS.match(name)}
    assert {name: NOT_OURS.get(name, "…_seconds, …_ml") for name in found} == {}


def test_only_the_listener_has_a_title_of_its_own() -> None:
    """Everywhere else it is said whose it is: calling or called."""
    owners = {path.name for path in MODULES if OWN_TITLE in set(names_in(tree_of(path)))}
    assert owners <= {"sections.py", "listener.py", "starting.py", "setup.py"}
