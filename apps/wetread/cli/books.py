"""`wetread studies|jobs|deliveries …`: what the ledger says, and what to ask of the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, open_ledger
from wetread.errors import WetreadError

studies_app = typer.Typer(help="What arrived, and what became of it.", no_args_is_help=True)
jobs_app = typer.Typer(help="Which models read what.", no_args_is_help=True)
deliveries_app = typer.Typer(help="Which results went where.", no_args_is_help=True)


@studies_app.command("list")
def studies_list(
    config: ConfigFile = DEFAULT_CONFIG, limit: int = 50, as_json: AsJson = False
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
            each.completion_reason or "",
        )
        for each in records
    ]
    columns = ["study", "generation", "state", "from", "first instance", "complete because"]
    console.show_records("studies", columns, rows, as_json=as_json)


@studies_app.command("show")
def studies_show(study: str, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show everything that happened to one study, in order."""
    from wetread import console

    ledger = open_ledger(config)
    record = ledger.studies.get(study)
    rows = [
        (console.clock(each.at), each.stage, each.job_id or "", each.event)
        for each in ledger.studies.history(study)
    ]
    title = f"study {study}: {record.state}, generation {record.generation}"
    console.show_records(title, ["time", "stage", "job", "event"], rows, as_json=as_json)
    if record.failure:
        raise WetreadError(record.failure.message, hint=record.failure.hint)


@studies_app.command("complete")
def studies_complete(study: str, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """End the wait for more instances of a study now."""
    open_ledger(config).studies.request_complete(study)
    typer.echo(f"{study} will be read as it is")


@jobs_app.command("list")
def jobs_list(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="Only jobs in this state.")] = "",
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from wetread import console
    from wetread.ledger import JobState

    wanted = console.choice(JobState, state) if state else None
    rows = [
        (
            each.job_id,
            each.model,
            each.state,
            each.attempt,
            each.outcome or (each.failure.message if each.failure else each.stage),
            f"{sum(each.seconds.values()):.1f}" if each.seconds else "",
        )
        for each in open_ledger(config).jobs.list(state=wanted)
    ]
    columns = ["job", "model", "state", "attempt", "outcome", "seconds"]
    console.show_records("jobs", columns, rows, as_json=as_json)


@jobs_app.command("show")
def jobs_show(job: str, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show one job: its results, deliveries, seconds by stage, and error."""
    from wetread import console

    ledger = open_ledger(config)
    record = ledger.jobs.get(job)
    rows: list[tuple[str, object]] = [
        ("model", record.model),
        ("state", record.state),
        ("attempt", record.attempt),
        ("study", record.study_instance_uid),
        ("series", record.series_instance_uid),
        ("rule", record.rule),
        ("outcome", record.outcome or ""),
        *((f"seconds {stage}", f"{seconds:.2f}") for stage, seconds in record.seconds.items()),
    ]
    rows += [
        (each.kind + (" (superseded)" if each.superseded else ""), each.path)
        for each in ledger.jobs.results_of(job)
    ]
    rows += [
        (f"{delivery.kind} to {delivery.destination}", delivery.state)
        for delivery in ledger.deliveries.list(job_id=job)
    ]
    console.show_records(f"job {job}", ["what", "value"], rows, as_json=as_json)
    if record.failure:
        raise WetreadError(record.failure.message, hint=record.failure.hint)


@jobs_app.command("retry")
def jobs_retry(job: str, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run an ended job again, as a new attempt with new UIDs."""
    record = open_ledger(config).jobs.retry(job)
    typer.echo(f"{job}: attempt {record.attempt} queued")


@jobs_app.command("cancel")
def jobs_cancel(job: str, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Cancel a job: a queued one now, a running one at its next step."""
    record = open_ledger(config).jobs.cancel(job)
    typer.echo(f"{job}: {record.state}" + (", will stop" if record.state == "running" else ""))


@deliveries_app.command("list")
def deliveries_list(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="Only deliveries in this state.")] = "",
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first; `dead` ones wait for `deliveries retry`."""
    from wetread import console
    from wetread.ledger import DeliveryState

    wanted = console.choice(DeliveryState, state) if state else None
    rows = [
        (
            each.delivery_id,
            each.kind,
            each.destination,
            each.state,
            each.attempt,
            each.answer or (each.failure.message if each.failure else ""),
        )
        for each in open_ledger(config).deliveries.list(state=wanted)
    ]
    columns = ["delivery", "kind", "destination", "state", "tries", "answer"]
    console.show_records("deliveries", columns, rows, as_json=as_json)


@deliveries_app.command("retry")
def deliveries_retry(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or `all` dead ones.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send dead letters again, with the same bytes."""
    from wetread.ledger import DeliveryState

    book = open_ledger(config).deliveries
    dead = book.list(state=DeliveryState.DEAD) if delivery == "all" else [book.get(delivery)]
    for each in dead:
        book.retry(each.delivery_id)
    typer.echo(f"{len(dead)} deliveries queued again")
