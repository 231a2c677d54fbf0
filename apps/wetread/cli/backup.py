"""`wetread backup`, `wetread restore` and `wetread upgrade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, ConfigFile, audit, load

if TYPE_CHECKING:
    from wetread.backup import Backup


def backup(
    to: Annotated[Path, typer.Argument(help="A folder that is not there yet, on another disk.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Copy ledger, workflows and spool to a new folder; the gateway may run meanwhile."""
    from wetread.audit.events import copied_out
    from wetread.backup import back_up

    settings = load(config)
    # Before the copy, so that it is in there.
    audit(config, copied_out(str(to.absolute())))
    made = back_up(settings, to.absolute())
    typer.echo(f"{to}: {_content(made)}")
    for path in made.missing:
        typer.echo(f"warning: the ledger names {path}, and it is not there", err=True)


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="FROM", help="A folder that `wetread backup` made.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Put a backup where the settings say; nothing may be there, and no gateway run on it."""
    from wetread.audit.events import copied_in
    from wetread.backup import restore as put_back

    settings = load(config)
    found = put_back(settings, source.absolute())
    audit(config, copied_in(str(source.absolute())))
    typer.echo(f"{settings.spool.path}: {_content(found)}, of {found.made_at}")


def upgrade(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Bring the ledger of an earlier wetread to this one's schema; what was there is kept.

    Stop the gateway first. To go back, put the kept file in the ledger's place and run the earlier
    wetread; in PostgreSQL, restore the dump that you made before.
    """
    from wetread.backup import upgrade as move

    moved = move(load(config))
    if moved.before == moved.after:
        typer.echo(f"the ledger has schema version {moved.after} already")
        return
    kept = f"; as it was: {moved.kept}" if moved.kept else ""
    typer.echo(f"the ledger went from schema version {moved.before} to {moved.after}{kept}")


def _content(found: Backup) -> str:
    return f"{found.images} images, {found.results} results, {found.size_bytes} bytes"
