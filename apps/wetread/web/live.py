"""News for pages that are open, as server-sent events: `changed`, and no more than that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from wetread.access.accounts import User
from wetread.access.roles import Permission
from wetread.errors import LedgerError
from wetread.web.site import Needs, Site, site_of

router = APIRouter(include_in_schema=False)
# Then the browser comes again, and must show a session that lasts.
_LASTS_SECONDS = 60.0
_AGAIN = "retry: 2000\n\n"
_CHANGED = "event: changed\ndata:\n\n"


@router.get("/live")
async def live(request: Request, _: Annotated[User, Depends(Needs(Permission.SEE))]) -> Response:
    """An event at first, for what has happened since the page was read, and then whenever a page
    would show something else."""
    return StreamingResponse(
        _news(site_of(request)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _news(site: Site) -> AsyncIterator[str]:
    began, before = time.monotonic(), await _pulse(site)
    yield _AGAIN + _CHANGED
    while not site.stopping.is_set() and time.monotonic() < began + _LASTS_SECONDS:
        await asyncio.sleep(site.config.web.refresh_seconds)
        now = await _pulse(site)
        if now != before:
            before = now
            yield _CHANGED
        else:
            # A browser that has gone is noticed when something is sent to it.
            yield ":\n\n"


async def _pulse(site: Site) -> str:
    try:
        return await run_in_threadpool(site.ledger.overview.pulse)
    except LedgerError:
        # The page says so itself once it is loaded again.
        return "the ledger does not answer"
