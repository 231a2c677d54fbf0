"""Every failure as one JSON shape, without a path or a traceback of this machine."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from lib.errors import AnnotateError

log = logging.getLogger(__name__)

_PATH = re.compile(r"(?<![\w:/.…])/(?:[^\s/'\":,;()<>]+/)+([^\s/'\":,;()<>]*)")
Mapped = Mapping[type[Exception], Callable[[Any], AnnotateError]]


def failure(
    status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The shape: what happened, and what to do."""
    return JSONResponse({"error": error, "hint": hint}, status, headers=dict(headers or {}))


def failure_of(error: AnnotateError) -> JSONResponse:
    """With the error's own status and headers."""
    return failure(error.status, error.message, error.hint, getattr(error, "headers", None))


def unexpected(error: Exception) -> JSONResponse:
    """Logged with its traceback under an id, which is all that the caller is told."""
    number = secrets.token_hex(4)
    log.error("error %s", number, exc_info=error)
    return failure(500, f"an error that was not foreseen: {number}", "the log has it: GET /logs/")


def without_paths(text: str) -> str:
    """Folders of this machine left out: /a/b/c.pt is …/c.pt."""
    return _PATH.sub(r"…/\1", text)


def answer_errors(app: FastAPI, mapped: Mapped) -> None:
    """Answer ours, those of FastAPI, and `mapped` ones as ours."""

    def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AnnotateError)  # noqa: S101 - registered for it
        return failure_of(error)

    def of_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        return failure(error.status_code, str(error.detail), headers=error.headers)

    def of_input(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        return failure(400, f"{place}: {first['msg']}", "see the interface in the README")

    app.add_exception_handler(AnnotateError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_input)
    for kind, convert in mapped.items():
        app.add_exception_handler(kind, _converted(convert))


def _converted(convert: Callable[[Any], AnnotateError]) -> Callable[[Request, Any], JSONResponse]:
    def answer(_: Request, error: Any) -> JSONResponse:
        return failure_of(convert(error))

    return answer
