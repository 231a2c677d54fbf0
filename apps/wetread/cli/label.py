"""`wetread label`: correct what the gateway read, and train from the corrections."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    load,
    load_or_default,
    show_checked,
)
from wetread.cli.stopping import told_to_stop, until, wait_until
from wetread.errors import ConfigError

if TYPE_CHECKING:
    from wetread.config import Config
    from wetread.label.workspace import LabelSettings

label_app = typer.Typer(
    help="The annotation server: MONAI Label, for OHIF and 3D Slicer.", no_args_is_help=True
)

Environment = Annotated[Path | None, typer.Option(help="Its Python environment.")]
Studies = Annotated[
    str | None, typer.Option(help="A folder of NIfTI files, or the URL of a DICOMweb origin.")
]


@label_app.command("install")
def label_install(environment: Environment = None, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Make the Python environment of the server; if it is there, nothing is done."""
    from wetread import console
    from wetread.label.environment import install_environment

    folder = environment or load_or_default(config).label.environment
    with console.progress_bar("MONAI Label") as progress:
        made = install_environment(folder, progress)
    typer.echo(made.folder)


@label_app.command("serve")
def label_serve(
    studies: Studies = None,
    folder: Annotated[Path | None, typer.Option(help="Where it writes.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port to listen on.")
    ] = None,
    environment: Environment = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Serve the bundles to OHIF and 3D Slicer until SIGINT or SIGTERM."""
    from wetread import console
    from wetread.label.environment import open_environment
    from wetread.label.server import LabelServer
    from wetread.label.workspace import prepare

    loaded = load_or_default(config)
    settings = _settings(loaded, studies, folder, host, port)
    stopping = told_to_stop()
    place = open_environment(environment or loaded.label.environment)
    file = prepare(settings, loaded.label.bundles.absolute())

    with console.progress_bar("MONAI Label") as progress:
        log = settings.folder / "server.log"
        watched = until(stopping, progress)
        server = LabelServer(settings, file, place, log=log, progress=watched)
        server.start()
    try:
        typer.echo(f"{server.url}/, OHIF at {server.url}/ohif/")
        wait_until(stopping, server.check)
    finally:
        server.stop()


@label_app.command("collect")
def label_collect(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Bring what readers drew in the archive back as training cases, as a gateway does."""
    from wetread import console
    from wetread.corrections.collector import FOLDER, collect_once

    settings = load(config)
    if not settings.label.studies.startswith("http"):
        raise ConfigError(
            "label.studies names no archive", hint="the URL of a DICOMweb origin, in the settings"
        )
    bundles = sorted({model.bundle for model in settings.models.values()})
    found = collect_once(settings.label, bundles)
    if as_json:
        console.show_json([asdict(each) for each in found])
        return
    rows = [(each.bundle, each.series_instance_uid, each.case_id or each.reason) for each in found]
    console.show_table("corrections", ["bundle", "series", "case, or why not"], rows)
    typer.echo(settings.label.folder / FOLDER)


@label_app.command("doctor")
def label_doctor(
    studies: Studies = None,
    environment: Environment = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Look at everything that the server needs, and say what is wrong with it."""
    from wetread.label.doctor import examine

    loaded = load_or_default(config)
    settings = _settings(loaded, studies, None, None, None, needs_studies=False)
    place = environment or loaded.label.environment
    found = examine(settings, loaded.label.bundles.absolute(), place)
    show_checked("annotation server", found, as_json=as_json)


@label_app.command("token")
def label_token(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    role: Annotated[str, typer.Option(help="user, annotator, reviewer or admin.")] = "annotator",
) -> None:
    """Make a token for a user: it is shown once, and its hash as lines for the settings."""
    from wetread.config import parse_config

    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    # The settings say what is allowed.
    parse_config({"users": {name: {"roles": [role], "token_sha256": digest}}})
    typer.echo(f'[users."{name}"]\nroles = ["{role}"]\ntoken_sha256 = "{digest}"')
    typer.echo(f"the token of {name}, which is not kept: {token}", err=True)


def _settings(
    loaded: Config,
    studies: str | None,
    folder: Path | None,
    host: str | None,
    port: int | None,
    *,
    needs_studies: bool = True,
) -> LabelSettings:
    from wetread.label.workspace import LabelSettings, LabelUser

    label = loaded.label
    wanted = studies or label.studies
    if needs_studies and not wanted:
        raise ConfigError(
            "no studies to annotate", hint="--studies FOLDER or URL, or label.studies"
        )
    settings = LabelSettings(
        studies=wanted if wanted.startswith("http") else str(Path(wanted).absolute()),
        folder=label.folder.absolute(),
        host=host or label.host,
        port=port or label.port,
        triton_url=label.triton_url,
        studies_user=label.studies_user,
        studies_password_file=str(label.studies_password_file or ""),
        studies_token_file=str(label.studies_token_file or ""),
        max_upload_bytes=label.max_upload_bytes,
        max_sessions=label.max_sessions,
        max_infers=label.max_infers,
        modalities=label.modalities,
        origins=label.origins,
        users=tuple(
            LabelUser(name, each.roles, each.token_sha256) for name, each in loaded.users.items()
        ),
        names=label.only,
    )
    return replace(settings, folder=folder.absolute()) if folder else settings
