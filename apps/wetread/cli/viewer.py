"""`wetread viewer`: OHIF over the archive, where results are seen and corrected."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from wetread.cli.options import DEFAULT_CONFIG, ConfigFile, ledger_of, load_or_default
from wetread.cli.stopping import told_to_stop, wait_until

viewer_app = typer.Typer(
    help="The viewer: OHIF over the archive, to see and correct results.", no_args_is_help=True
)

Folder = Annotated[Path | None, typer.Option(help="Where OHIF lies.")]
_LAST_SECONDS = 20.0


@viewer_app.command("install")
def viewer_install(folder: Folder = None, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Fetch OHIF by npm, checked by its hash; if it is there, nothing is done."""
    from wetread.viewer.package import install_viewer

    typer.echo(install_viewer(folder or load_or_default(config).viewer.folder))


@viewer_app.command("serve")
def viewer_serve(
    studies: Annotated[
        str | None, typer.Option(help="The archive, the URL of a DICOMweb origin.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port to listen on.")
    ] = None,
    folder: Folder = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Serve OHIF over the archive until SIGINT or SIGTERM, as `wetread serve` does beside all.

    With a settings file, its ledger knows the users of the dashboard, and its audit trail hears
    who sees and stores what.
    """
    from wetread.access.browsers import Browsers
    from wetread.viewer.server import viewer_server
    from wetread.viewer.settings import address_of

    given = {"studies": studies, "host": host, "port": port, "folder": folder}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = load_or_default(config)
    loaded = settings.model_copy(update={"viewer": settings.viewer.model_copy(update=changes)})
    stopping = told_to_stop()
    with ExitStack() as stack:
        record: Callable[[dict[str, Any]], None] = _unheard
        browsers = None
        if config.exists():
            ledger = stack.enter_context(closing(ledger_of(settings)))
            record = ledger.trail.record
            # The dashboard leads back to the viewer of the settings, and to no other.
            if settings.web.enabled and address_of(loaded.viewer) == address_of(settings.viewer):
                browsers = Browsers.of(settings.web, ledger.engine, time.time)
        server = viewer_server(loaded, record, browsers)
        server.start()
        try:
            typer.echo(f"{address_of(loaded.viewer)}/")
            if record is _unheard:
                typer.echo(f"no {config}: who looks at what is recorded nowhere", err=True)
            wait_until(stopping)
        finally:
            server.stop(_LAST_SECONDS)


def _unheard(_: dict[str, Any]) -> None:
    """There is no audit trail here."""


@viewer_app.command("url")
def viewer_url(
    study: Annotated[str, typer.Argument(help="Its Study Instance UID.")],
    reports: Annotated[
        bool, typer.Option("--reports", help="Open where Structured Reports are shown.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say where a study opens, with its newest Segmentation drawn on the images."""
    from wetread.viewer.settings import study_address

    typer.echo(study_address(load_or_default(config).viewer, study, reports=reports))
