"""`wetread studies|jobs|deliveries|workers`: what the ledger says, and what to ask of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load, open_ledger

if TYPE_CHECKING:
    from wetread.ledger import Failure

studies_app = typer.Typer(help="What arrived, and what became of it.", no_args_is_help=True)
jobs_app = typer.Typer(help="Which models read what.", no_args_is_help=True)
deliveries_app = typer.Typer(help="Which results went where.", no_args_is_help=True)
workers_app = typer.Typer(help="Which processes share one PostgreSQL.", no_args_is_help=True)

StudyUid = Annotated[str, typer.Argument(help="Its Study Instance UID.")]
JobId = Annotated[str, typer.Argument(help="Its id, as in `jobs list`.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many, the newest.")]


@studies_app.command("list")
def studies_list(
    config: ConfigFile = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """List the studies that came last."""
    from wetread import console

    records = open_ledger(config).studies.newest(limit)
    rows = [
        (
            each.study_instance_uid,
            each.generation,
            each.state,
            each.calling_ae_title,
            console.clock(each.first_received_at),
            each.failure.message if each.failure else each.completion_reason or "",
        )
        for each in records
    ]
    columns = ["study", "generation", "state", "from", "first instance", "why"]
    console.show_records("studies", columns, rows, as_json=as_json)


@studies_app.command("show")
def studies_show(
    study: StudyUid, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Show everything that happened to one study, in order."""
    from dataclasses import asdict

    from wetread import console
    from wetread.viewer.settings import study_address

    ledger = open_ledger(config)
    record = ledger.studies.get(study)
    history = ledger.studies.history(study)
    viewer = load(config).viewer
    address = study_address(viewer, study) if viewer.studies else None
    if as_json:
        told = {**asdict(record), "history": [asdict(each) for each in history]}
        console.show_json({**told, "viewer": address})
        return
    rows = [(console.clock(each.at), each.stage, each.job_id or "", each.event) for each in history]
    title = f"study {study}: {record.state}, generation {record.generation}"
    console.show_table(title, ["time", "stage", "job", "event"], rows)
    if record.failure:
        console.show_table("failure", ["what", "value"], _failure_rows(record.failure))
    if address:
        typer.echo(address)


@studies_app.command("complete")
def studies_complete(study: StudyUid, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """End the wait for more instances of a study now."""
    open_ledger(config).studies.request_complete(study)
    typer.echo(f"{study} will be read as it is")


@workers_app.command("list")
def workers_list(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the processes that are alive."""
    from wetread import console

    rows = [
        (
            each.name,
            "gateway" if each.has_doors else "worker",
            each.host,
            each.process_id,
            each.jobs,
            console.clock(each.started_at),
            console.clock(each.expires_at),
        )
        for each in open_ledger(config).workers.alive()
    ]
    columns = ["name", "kind", "host", "process", "jobs", "started", "alive until"]
    console.show_records("workers", columns, rows, as_json=as_json)


@jobs_app.command("list")
def jobs_list(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="Only jobs in this state.")] = "",
    study: Annotated[str, typer.Option(help="Only jobs of this Study Instance UID.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from wetread import console
    from wetread.ledger import JobState

    wanted = console.choice(JobState, state) if state else None
    found = open_ledger(config).jobs.list(state=wanted, study=study or None, limit=limit)
    rows = [
        (
            each.job_id,
            each.model,
            each.state,
            each.attempt,
            console.clock(each.created_at),
            each.outcome or (each.failure.message if each.failure else each.stage),
            f"{sum(each.seconds.values()):.1f}" if each.seconds else "",
        )
        for each in found
    ]
    columns = ["job", "model", "state", "attempt", "asked for", "outcome", "seconds"]
    console.show_records("jobs", columns, rows, as_json=as_json)


@jobs_app.command("show")
def jobs_show(job: JobId, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show one job: its results, deliveries, seconds by stage, and error."""
    from dataclasses import asdict

    from wetread import console

    ledger = open_ledger(config)
    record = ledger.jobs.get(job)
    results, deliveries = ledger.jobs.results_of(job), ledger.deliveries.list(job_id=job)
    gone = ledger.removals.removed_results_of(job)
    if as_json:
        objects = {
            "results": [asdict(each) for each in results],
            "deliveries": [asdict(each) for each in deliveries],
        }
        console.show_json({**asdict(record), **objects})
        return
    rows: list[tuple[str, Any]] = [
        ("model", record.model),
        ("state", record.state),
        ("attempt", record.attempt),
        *([("next try", console.clock(record.next_try_at))] if record.next_try_at else []),
        ("study", record.study_instance_uid),
        ("series", f"{record.series_instance_uid} {record.stack}".strip()),
        ("rule", record.rule),
        *([("outcome", record.outcome)] if record.outcome else []),
        *_failure_rows(record.failure),
        *((f"seconds {stage}", f"{seconds:.2f}") for stage, seconds in record.seconds.items()),
        *(
            (
                each.kind + (" (superseded)" if each.superseded else ""),
                f"{each.path} (removed)" if each.sop_instance_uid in gone else each.path,
            )
            for each in results
        ),
        *((f"{each.kind} to {each.destination}", each.state) for each in deliveries),
    ]
    console.show_table(f"job {job}", ["what", "value"], rows)


def _failure_rows(failure: Failure | None) -> list[tuple[str, str]]:
    if failure is None:
        return []
    return [("error", failure.error), ("reason", failure.message), ("hint", failure.hint)]


@jobs_app.command("retry")
def jobs_retry(job: JobId, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run an ended job again, as a new attempt with new UIDs, or one that was put off now."""
    record = open_ledger(config).jobs.retry(job)
    typer.echo(f"{job}: attempt {record.attempt} queued")


@jobs_app.command("cancel")
def jobs_cancel(job: JobId, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Cancel a job: a queued one now, a running one at its next step."""
    record = open_ledger(config).jobs.cancel(job)
    typer.echo(f"{job}: {record.state}" + (", will stop" if record.state == "running" else ""))


@deliveries_app.command("list")
def deliveries_list(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="Only deliveries in this state.")] = "",
    destination: Annotated[str, typer.Option(help="Only those to this destination.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first; `dead` ones wait for `deliveries retry`."""
    from wetread import console
    from wetread.ledger import DeliveryState

    wanted = console.choice(DeliveryState, state) if state else None
    book = open_ledger(config).deliveries
    found = book.list(state=wanted, destination=destination or None, limit=limit)
    rows = [
        (
            each.delivery_id,
            each.job_id,
            each.kind,
            each.destination,
            each.state,
            each.attempt,
            console.clock(each.next_try_at),
            each.answer or (each.failure.message if each.failure else ""),
        )
        for each in found
    ]
    columns = ["delivery", "job", "kind", "destination", "state", "tries", "next try", "answer"]
    console.show_records("deliveries", columns, rows, as_json=as_json)


@deliveries_app.command("retry")
def deliveries_retry(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or `all` dead ones.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send dead letters again, with the same bytes."""
    book = open_ledger(config).deliveries
    if delivery == "all":
        count = book.retry_dead_letters()
    else:
        book.retry(delivery)
        count = 1
    typer.echo(f"deliveries queued again: {count}")


@deliveries_app.command("cancel")
def deliveries_cancel(
    delivery: Annotated[str, typer.Argument(help="A delivery's id.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give up a delivery that waits or is dead."""
    record = open_ledger(config).deliveries.cancel(delivery)
    typer.echo(f"{delivery}: {record.state}")
