"""The tree of errors: each has its codes, its hint, and says whether to come again."""

from __future__ import annotations

import ast
import re

import pytest

from conftest import ROOT
from wetread import errors
from wetread.dicom.network import status_meaning
from wetread.errors import (
    ERROR_CODES,
    CommitmentRefusedError,
    RetrieveRefusedError,
    StoreRefusedError,
    WetreadError,
    codes_for,
)


def subclasses(kind: type[WetreadError]) -> list[type[WetreadError]]:
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


CLASSES = [WetreadError, *subclasses(WetreadError)]
COMES_AGAIN = {
    *("InferenceUnavailableError", "StorageError", "ShareAwayError"),
    "DestinationUnavailableError",
}
# Errors that no person reads at a command: an answer to an HTTP client, the end of a cancelled
# job, what a fake was told, a fault of the code itself.
WITHOUT_HINT = {
    "deliver/base.py",
    "deliver/folder.py",
    "infer/embedded.py",
    "pipeline.py",
    "receive/stow.py",
}


def make(kind: type[WetreadError]) -> WetreadError:
    extra = {StoreRefusedError: {"status": 0xA700}, CommitmentRefusedError: {"reason": 0x0122}}
    extra[RetrieveRefusedError] = {"status": 0xA801}
    return kind("the fact", hint="what to do", **extra.get(kind, {}))


def test_the_tree_is_drawn_with_every_class_in_its_place() -> None:
    """Depth in the drawing is depth in the tree, and (retry) stands where it is so."""
    drawn = re.findall(r"^(\W+)(\w+Error)( +\(retry\))?", errors.__doc__, re.MULTILINE)
    depths = {name: (len(lead.lstrip("\n")) - 4) // 3 for lead, name, _ in drawn}
    assert depths == {kind.__name__: kind.__mro__.index(WetreadError) for kind in CLASSES}
    assert {name for _, name, retry in drawn if retry} == COMES_AGAIN


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_its_fact_and_its_hint(kind: type[WetreadError]) -> None:
    error = make(kind)
    assert (str(error), error.message, error.hint) == ("the fact", "the fact", "what to do")
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_codes_of_its_own(kind: type[WetreadError]) -> None:
    assert codes_for(make(kind)) is ERROR_CODES[kind]


def test_labels_are_one_to_one_and_fit_prometheus() -> None:
    labels = [codes.label for codes in ERROR_CODES.values()]
    assert len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[a-z_]+", label) for label in labels)


def test_store_statuses_are_failures_that_the_standard_names() -> None:
    for codes in ERROR_CODES.values():
        assert status_meaning(codes.store_status) not in ("unknown status", "stored")


@pytest.mark.parametrize(
    ("name", "store_status", "exit_code"),
    [
        ("ConfigError", 0x0110, 2),
        ("InputError", 0xC000, 3),
        ("GeometryError", 0xA900, 3),
        ("CallerNotAllowedError", 0x0124, 4),
        ("DeliveryError", 0x0110, 4),
        ("InferenceError", 0x0110, 5),
        ("RoutingError", 0x0110, 6),
        ("EncodingError", 0x0110, 7),
        ("StorageError", 0xA700, 8),
        ("LedgerError", 0xA700, 9),
    ],
)
def test_a_sender_and_a_shell_see_these_codes(name: str, store_status: int, exit_code: int) -> None:
    codes = ERROR_CODES[getattr(errors, name)]
    assert (codes.store_status, codes.exit_code) == (store_status, exit_code)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_family_shares_its_exit_code(kind: type[WetreadError]) -> None:
    parent = kind.__mro__[1]
    if parent not in (Exception, WetreadError):
        assert ERROR_CODES[kind].exit_code == ERROR_CODES[parent].exit_code


def test_an_error_of_no_class_of_ours_is_unexpected() -> None:
    assert (codes_for(ValueError()).exit_code, codes_for(ValueError()).label) == (1, "unexpected")


@pytest.mark.parametrize("kind", [each for each in CLASSES if each is not StoreRefusedError])
def test_only_what_may_pass_is_tried_again(kind: type[WetreadError]) -> None:
    assert make(kind).retryable == (kind.__name__ in COMES_AGAIN)


@pytest.mark.parametrize(
    ("status", "retryable"), [(0xA700, True), (0xA7FF, True), (0xA900, False), (0x0110, False)]
)
def test_a_refused_store_is_tried_again_only_when_out_of_resources(
    status: int, retryable: bool
) -> None:
    assert StoreRefusedError("refused", status=status).retryable is retryable


@pytest.mark.parametrize(
    ("reason", "retryable"),
    [(0x0110, True), (0x0112, True), (0x0213, True), (0x0122, False), (0x0119, False)],
)
def test_what_is_not_kept_is_sent_again_where_that_can_help(reason: int, retryable: bool) -> None:
    assert CommitmentRefusedError("refused", reason=reason).retryable is retryable


def test_whoever_raises_says_what_to_do() -> None:
    names = {kind.__name__ for kind in CLASSES}
    package = ROOT / "apps" / "wetread"
    silent = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in names
        and all(keyword.arg != "hint" for keyword in node.keywords)
    }
    assert silent <= WITHOUT_HINT
