"""`wetread audit …`: who did what, and whether the trail is whole."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, ConfigFile, open_ledger

audit_app = typer.Typer(help="The audit trail: who did what.", no_args_is_help=True)


class Form(StrEnum):
    """How events are printed."""

    JSON = "json"
    XML = "xml"


@audit_app.command("export")
def audit_export(
    config: ConfigFile = DEFAULT_CONFIG,
    since: Annotated[
        datetime | None, typer.Option(help="Only from that day or time on, in local time.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only after the event of that number.")] = 0,
    study: Annotated[str, typer.Option(help="Only of this Study Instance UID.")] = "",
    form: Annotated[Form, typer.Option(help="JSON with number and digest, or DICOM XML.")] = (
        Form.JSON
    ),
) -> None:
    """Print audit messages of PS3.15 A.5, one a line; that it was done is an event, too."""
    from wetread.audit.events import log_used
    from wetread.audit.message import to_xml

    trail = open_ledger(config).trail
    trail.record(log_used())
    for each in trail.read(after=after, since=since.timestamp() if since else 0.0, study=study):
        if form is Form.XML:
            typer.echo(to_xml(each.content))
        else:
            told = {"number": each.number, "sha256": each.sha256, "message": each.content}
            typer.echo(json.dumps(told, ensure_ascii=False))


@audit_app.command("verify")
def audit_verify(
    config: ConfigFile = DEFAULT_CONFIG,
    known: Annotated[
        list[str] | None,
        typer.Option("--known", metavar="NUMBER:SHA256", help="A digest noted before; repeatable."),
    ] = None,
) -> None:
    """Look whether any event was changed or removed, and print the last one's number and digest.

    Note that elsewhere: with --known, a trail that was cut off or written anew shows as well.
    """
    last = open_ledger(config).trail.verify(dict(map(_noted, known or [])))
    typer.echo(f"{last.number}:{last.sha256}" if last else "0:")


def _noted(text: str) -> tuple[int, str]:
    number, _, sha256 = text.partition(":")
    try:
        return int(number), sha256.lower()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not NUMBER:SHA256") from error
