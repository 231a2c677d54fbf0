"""`wetread pull`: old studies of an archive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load, open_ledger
from wetread.errors import ERROR_CODES, ConfigError, DeliveryError

if TYPE_CHECKING:
    from wetread.config import ArchiveConfig, Config
    from wetread.pull.pull import Found, Puller

_DAY = ["%Y-%m-%d"]
_COLUMNS = ["study", "date", "description", "series", "matched", "arrived"]
_OUTCOMES = ["state", "completed", "failed", "warnings", "reason", "what to do"]


def archive_of(settings: Config, name: str) -> ArchiveConfig:
    """The archive of that name. Raises ConfigError if there is none."""
    if name not in settings.archives:
        known = ", ".join(settings.archives) or "none"
        raise ConfigError(
            f"no archive {name!r}; known: {known}", hint="write its table under [archives]"
        )
    return settings.archives[name]


def pull(
    archive: Annotated[str, typer.Argument(help="The archive's name in the settings.")],
    since: Annotated[
        datetime | None, typer.Option("--from", formats=_DAY, help="The first day of the study.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=_DAY, help="The last day.")
    ] = None,
    modality: Annotated[str, typer.Option(help="Only series of this modality, such as MR.")] = "",
    study_description: Annotated[
        str, typer.Option(help="What it is like; * and ? stand for anything.")
    ] = "",
    series_description: Annotated[str, typer.Option(help="Only series that are like this.")] = "",
    patient_id: Annotated[str, typer.Option(help="The patient's id; * and ? may stand in.")] = "",
    study: Annotated[
        list[str] | None, typer.Option(help="A Study Instance UID; may be given again.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Fetch at most so many studies that are not here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is there.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Have an archive send old studies to the gateway, which reads them by its rules.

    The exit code is 0, or 4 if a study did not come whole. Given again it goes on where it ended.
    """
    from wetread import console
    from wetread.pull.pull import Puller, PullState, limited
    from wetread.pull.query import Wanted

    settings = load(config)
    wanted = Wanted(
        since=since and since.date(),
        until=until and until.date(),
        modality=modality,
        study_description=study_description,
        series_description=series_description,
        patient_id=patient_id,
        studies=tuple(study or ()),
    )
    asked = archive_of(settings, archive)
    with closing(open_ledger(config)) as ledger:
        puller = Puller(archive, asked, ledger, settings.listener.ae_title)
        with console.progress_bar(archive) as progress, _stopped_by_hand(puller):
            found, unfit = puller.find(wanted, progress)
            chosen = found if limit is None else limited(found, limit)
            pulled = [] if dry_run else puller.pull(chosen, progress)
    if unfit:
        typer.echo(f"{archive}: {unfit} answers do not fit and are left out", err=True)
    if dry_run:
        rows = [
            (*_shown(each), PullState.HERE if each.here >= each.matched else PullState.FOUND)
            for each in chosen
        ]
        console.show_records(archive, [*_COLUMNS, "state"], rows, as_json=as_json)
        return
    done = [
        (*_shown(each.found, each.arrived), each.state, each.outcome.completed,
         each.outcome.failed, each.outcome.warnings, each.reason, each.hint)
        for each in pulled
    ]  # fmt: skip
    console.show_records(archive, [*_COLUMNS, *_OUTCOMES], done, as_json=as_json)
    if any(each.state not in (PullState.HERE, PullState.FETCHED) for each in pulled):
        raise typer.Exit(ERROR_CODES[DeliveryError].exit_code)


def _shown(found: Found, arrived: int | None = None) -> Sequence[object]:
    here = found.here if arrived is None else arrived
    return (
        found.study_instance_uid,
        found.study_date,
        found.description,
        len(found.series),
        found.matched,
        here,
    )


@contextmanager
def _stopped_by_hand(puller: Puller) -> Iterator[None]:
    """The first SIGINT asks the archive to stop; a second one ends the process."""

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        # Not here: what it interrupts may hold the locks that telling needs.
        threading.Thread(target=puller.cancellation.request).start()

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
