"""What the server and its trainings have said."""

from __future__ import annotations

from collections import deque
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import PlainTextResponse

from lib.errors import NotThereError
from lib.settings import Settings


def tail(request: Request, lines: Annotated[int, Query(ge=1, le=5000)] = 300) -> PlainTextResponse:
    """The last lines, as text: MONAI Label's page loads scripts from other hosts."""
    settings: Settings = request.app.state.settings
    path = settings.folder / "app/logs/app.log"
    if not path.is_file():
        raise NotThereError("there is no log yet", hint="ask again")
    with path.open(encoding="utf-8", errors="replace") as file:
        return PlainTextResponse("".join(deque(file, lines)))
