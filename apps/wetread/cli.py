"""The command line: thin over the library; data goes to stdout, the rest to stderr.

Heavy modules are imported inside the commands, so that `wetread --help` starts at once.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread import __version__
from wetread.errors import ConfigError, WetreadError, codes_for

if TYPE_CHECKING:
    from wetread.config import Config
    from wetread.ledger import Ledger

app = typer.Typer(
    help="A preliminary reading of medical images for the PACS: DICOM in, DICOM SEG and SR out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="Build, list and check the models.", no_args_is_help=True)
check_app = typer.Typer(help="Check settings, destinations and models.", no_args_is_help=True)
studies_app = typer.Typer(help="What arrived, and what became of it.", no_args_is_help=True)
jobs_app = typer.Typer(help="Which models read what.", no_args_is_help=True)
deliveries_app = typer.Typer(help="Which results went where.", no_args_is_help=True)
for name, group in (
    ("models", models_app),
    ("check", check_app),
    ("studies", studies_app),
    ("jobs", jobs_app),
    ("deliveries", deliveries_app),
):
    app.add_typer(group, name=name)

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="WETREAD_CONFIG", help="The settings, a TOML file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("wetread.toml")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    from wetread.logs import configure_logs

    configure_logs(verbose=verbose)


def _load(config: Path) -> Config:
    from wetread.config import load_config

    return load_config(config)


def _ledger(config: Path) -> Ledger:
    from wetread.durable import ledger_url
    from wetread.ledger import Ledger

    return Ledger(ledger_url(_load(config)))


@app.command()
def serve(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the gateway until it is told to stop (SIGINT or SIGTERM)."""
    from wetread.service import Service

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Service(_load(config)):
        stopping.wait()


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option(help="A DICOM folder of one MR head; else Colin27 is used.")
    ] = None,
    head: Annotated[Path, typer.Option(help="The NIfTI head to use without --study.")] = Path(
        ".cache/head/ch2.nii.gz"
    ),
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("demo-output"),
    bundles: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("bundles"),
    repository: Annotated[Path, typer.Option(help="The folder of exported networks.")] = Path(
        "triton_models"
    ),
) -> None:
    """Send a real head through the whole loop on this machine, and show every stage."""
    from wetread.demo import run_demo

    run_demo(study=study, head=head, output=output, bundles=bundles, repository=repository)


@app.command()
def infer(
    path: Annotated[Path, typer.Argument(help="A DICOM folder, file or ZIP, or a NIfTI file.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the settings, or a bundle's name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Read one study without a network: DICOM gives SEG, SR and SC, NIfTI gives NIfTI."""
    from wetread import console
    from wetread.offline import open_named_model, read_path

    opened = open_named_model(model, config)
    with console.progress_bar(model) as progress:
        readings = read_path(path, opened, output, progress)
    opened.close()
    if as_json:
        typer.echo(json.dumps([reading.as_dict() for reading in readings], indent=2))
        return
    rows = [
        (reading.series, reading.outcome, f"{sum(reading.seconds.values()):.1f} s", file)
        for reading in readings
        for file in reading.files or [""]
    ]
    console.show_table(model, ["series", "outcome", "time", "file"], rows)


@app.command()
def route(
    path: Annotated[Path, typer.Argument(help="A DICOM folder, file or ZIP.")],
    config: ConfigFile = DEFAULT_CONFIG,
    caller: Annotated[str, typer.Option(help="Pretend this calling AE title.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show which rule takes which series of a study, and why. Nothing is read or sent."""
    from dataclasses import asdict

    from wetread import console
    from wetread.offline import decide

    decisions = decide(path, _load(config), caller)
    if as_json:
        typer.echo(json.dumps([asdict(decision) for decision in decisions], indent=2))
        return
    for decision in decisions:
        rows = [
            (
                outcome.series_instance_uid,
                outcome.rule,
                condition.name,
                condition.wanted,
                condition.seen,
                "yes" if condition.held else "no",
            )
            for outcome in decision.outcomes
            for condition in outcome.conditions
        ]
        title = f"study {decision.study_instance_uid}"
        columns = ["series", "rule", "condition", "wanted", "seen", "held"]
        console.show_table(title, columns, rows)
        chosen = [
            (
                each.series_instance_uid,
                each.rule,
                ", ".join(each.models),
                ", ".join(each.destinations),
            )
            for each in decision.selections
        ]
        console.show_table("decision", ["series", "rule", "models", "results go to"], chosen)


@models_app.command("build")
def models_build(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("bundles"),
    repository: Annotated[Path, typer.Option(help="The folder for exported networks.")] = Path(
        "triton_models"
    ),
) -> None:
    """Export the networks of every bundle to ONNX, check them against the originals."""
    from wetread import console
    from wetread.models.export import build_models

    rows = []
    for bundle in sorted(each for each in bundles.iterdir() if (each / "configs").is_dir()):
        with console.progress_bar(bundle.name) as progress:
            built = build_models(bundle, repository, progress)
        rows += [(bundle.name, each.network, each.summary) for each in built]
    console.show_table("models", ["bundle", "network", "result"], rows)


@models_app.command("list")
def models_list(
    repository: Annotated[Path, typer.Option(help="The folder of exported networks.")] = Path(
        "triton_models"
    ),
    as_json: AsJson = False,
) -> None:
    """List the exported networks."""
    from dataclasses import asdict

    from wetread import console
    from wetread.models.export import list_models

    found = list_models(repository)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2, default=str))
        return
    rows = [(each.network, each.version, each.onnx_sha256[:12], each.path) for each in found]
    console.show_table("networks", ["network", "version", "sha256", "file"], rows)


@models_app.command("check")
def models_check(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("bundles"),
    repository: Annotated[Path, typer.Option(help="The folder of exported networks.")] = Path(
        "triton_models"
    ),
) -> None:
    """Check every network against its bundle's contract, with one real forward pass."""
    from wetread import console
    from wetread.models.export import check_model

    rows = []
    for bundle in sorted(each for each in bundles.iterdir() if (each / "configs").is_dir()):
        rows += [
            (bundle.name, each.network, each.summary) for each in check_model(bundle, repository)
        ]
    console.show_table("models", ["bundle", "network", "result"], rows)


@check_app.command("config")
def check_config(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read the settings and say what they are."""
    from wetread import console

    loaded = _load(config)
    rows = [
        ("listens", f"{loaded.listener.ae_title} at {loaded.listener.host}:{loaded.listener.port}"),
        ("accepts", ", ".join(loaded.listener.accept_calling_ae_titles) or "nobody"),
        ("spool", loaded.spool.path),
        ("models", ", ".join(loaded.models) or "none"),
        ("destinations", ", ".join(loaded.destinations) or "none"),
        ("rules", len(loaded.rules)),
    ]
    console.show_table(f"{config}: no fault found", ["setting", "value"], rows)


@check_app.command("destination")
def check_destination(
    name: Annotated[str, typer.Argument(help="The destination's name in the settings.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Ask a destination whether it is there: C-ECHO, a search, or a look at the folder."""
    from wetread.deliver.registry import open_destination

    destinations = _load(config).destinations
    if name not in destinations:
        known = ", ".join(destinations) or "none"
        raise ConfigError(f"no destination {name!r}; known: {known}", hint=f"see {config}")
    typer.echo(open_destination(name, destinations[name]).test())


@check_app.command("models")
def check_models(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Open every configured model: files there, hashes known, contract kept."""
    from wetread import console
    from wetread.infer.shelf import ModelShelf

    loaded = _load(config)
    shelf = ModelShelf(loaded.models, loaded.model_repository)
    rows = []
    for name in loaded.models:
        identity = shelf.get(name).identity
        rows.append((name, identity.version, identity.weights_sha256[:12], "done"))
    shelf.close()
    console.show_table("models", ["model", "version", "weights", "opened"], rows)


@studies_app.command("list")
def studies_list(
    config: ConfigFile = DEFAULT_CONFIG, limit: int = 50, as_json: AsJson = False
) -> None:
    """List the studies that came last."""
    from wetread import console

    records = _ledger(config).studies.newest(limit)
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

    ledger = _ledger(config)
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
    _ledger(config).studies.request_complete(study)
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
        for each in _ledger(config).jobs.list(state=wanted)
    ]
    columns = ["job", "model", "state", "attempt", "outcome", "seconds"]
    console.show_records("jobs", columns, rows, as_json=as_json)


@jobs_app.command("show")
def jobs_show(job: str, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show one job: its results, deliveries, seconds by stage, and error."""
    from wetread import console

    ledger = _ledger(config)
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
    record = _ledger(config).jobs.retry(job)
    typer.echo(f"{job}: attempt {record.attempt} queued")


@jobs_app.command("cancel")
def jobs_cancel(job: str, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Cancel a job: a queued one now, a running one at its next step."""
    record = _ledger(config).jobs.cancel(job)
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
        for each in _ledger(config).deliveries.list(state=wanted)
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

    book = _ledger(config).deliveries
    dead = book.list(state=DeliveryState.DEAD) if delivery == "all" else [book.get(delivery)]
    for each in dead:
        book.retry(each.delivery_id)
    typer.echo(f"{len(dead)} deliveries queued again")


def main() -> None:
    """Run the command line; a known error ends with its fact, its hint and its exit code."""
    try:
        app()
    except WetreadError as error:
        from wetread.console import show_error

        show_error(error)
        sys.exit(codes_for(error).exit_code)
