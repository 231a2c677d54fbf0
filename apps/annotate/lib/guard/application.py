"""The server: our routes over MONAI Label's app, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import monailabel
from fastapi import FastAPI
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from lib.errors import AnnotateError, NotAllowedError, NotThereError
from lib.guard.answers import answer_errors, without_paths
from lib.guard.app import the_app
from lib.guard.gate import Doorman, Gate
from lib.guard.proxy import ArchiveProxy
from lib.guard.routes import TABLE
from lib.guard.turns import Turns
from lib.guard.viewer import Viewer
from lib.settings import Settings

OHIF = Path(monailabel.__file__).parent / "endpoints/static/ohif"


def build(settings: Settings, studies: str) -> FastAPI:
    """MONAI Label's own FastAPI application is not part of it: none of its routes are there."""
    doorman = Doorman(settings)
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=[*_cross_origin(settings), _gate(settings, doorman)],
    )
    app.state.settings = settings
    app.state.doorman = doorman
    app.state.turns = Turns(settings.max_infers)
    app.state.viewer = Viewer(OHIF)
    app.state.archive = ArchiveProxy(settings, studies)
    for route in TABLE.routes:
        app.add_api_route(route.path, route.endpoint, methods=[route.method], response_model=None)
    answer_errors(
        app,
        {
            ImageNotFoundException: _not_there,
            LabelNotFoundException: _not_there,
            MONAILabelException: _of_monai_label,
        },
    )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the models before the first request, as MONAI Label's own does."""
    instance = the_app()
    instance.server_mode(True)
    instance.on_init_complete()
    yield
    await app.state.archive.close()


def _gate(settings: Settings, doorman: Doorman) -> Middleware:
    return Middleware(Gate, settings=settings, table=TABLE, doorman=doorman)


def _cross_origin(settings: Settings) -> list[Middleware]:
    """Named origins only, and never with a cookie: a page elsewhere must bring a token."""
    if not settings.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Content-Disposition"],
        )
    ]


def _not_there(error: MONAILabelException) -> AnnotateError:
    return NotThereError(without_paths(error.msg), hint="see /datastore/?output=all")


def _of_monai_label(error: MONAILabelException) -> AnnotateError:
    message = without_paths(error.msg)
    if error.error == MONAILabelError.INVALID_INPUT:
        return NotAllowedError(message, hint="see /info/")
    return AnnotateError(message, hint="the log has more: GET /logs/")
