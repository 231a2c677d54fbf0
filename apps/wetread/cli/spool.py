"""`wetread spool …`: the local copies of what was received and written."""

from __future__ import annotations

from typing import Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load, open_ledger

spool_app = typer.Typer(
    help="The local copies of what was received and written.", no_args_is_help=True
)


@spool_app.command("prune")
def spool_prune(
    config: ConfigFile = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the copies of finished studies that [retention] keeps no longer."""
    from wetread import console
    from wetread.errors import ConfigError
    from wetread.receive.retention import Retention
    from wetread.receive.spool import Spool

    settings = load(config)
    if not settings.retention.removes:
        raise ConfigError(
            f"{config} keeps everything for ever", hint="set keep_days in [retention] first"
        )
    retention = Retention(settings, open_ledger(config), Spool.of(settings, in_use=True))
    found = retention.outlook().expired if dry_run else tuple(retention.remove_expired())
    rows = [
        (
            each.study.study_instance_uid,
            console.clock(each.study.finished_at),
            each.study.images,
            each.size_bytes,
            each.reason,
        )
        for each in found
    ]
    title = "to be removed" if dry_run else "removed"
    columns = ["study", "finished", "images", "bytes", "why"]
    console.show_records(title, columns, rows, as_json=as_json)
