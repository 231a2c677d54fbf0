"""The command line: thin over the library; data goes to stdout, the rest to stderr.

Heavy modules are imported inside the commands, so that `wetread --help` starts at once.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing, nullcontext
from contextvars import copy_context
from pathlib import Path
from typing import Annotated

import typer

from wetread import __version__
from wetread.cli.audit import audit_app
from wetread.cli.backup import backup, restore, upgrade
from wetread.cli.books import deliveries_app, jobs_app, studies_app, workers_app
from wetread.cli.bundle import bundle_app
from wetread.cli.bundle_trust import bundle_import, bundle_key, bundle_sign
from wetread.cli.check import check_app
from wetread.cli.compare import bundle_compare
from wetread.cli.deidentify import deidentify, reidentify
from wetread.cli.explain import explain
from wetread.cli.label import label_app
from wetread.cli.label_simulate import label_simulate
from wetread.cli.models import models_app
from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_CONFIG,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    ConfigFile,
    Repository,
    heavy_imports,
    load,
    load_or_default,
)
from wetread.cli.phantom import phantom
from wetread.cli.pull import pull
from wetread.cli.robustness import bundle_gate, bundle_stress
from wetread.cli.setup import conformance, doctor, init
from wetread.cli.spool import spool_app
from wetread.cli.stopping import told_to_stop, wait_until
from wetread.cli.triton import triton_app
from wetread.cli.users import users_app
from wetread.cli.viewer import viewer_app
from wetread.errors import ERROR_CODES, InputError, WetreadError, codes_for
from wetread.results import OnDemand

app = typer.Typer(
    help="A preliminary reading of medical images for the PACS: DICOM in, DICOM SEG and SR out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, group in (
    ("models", models_app),
    ("triton", triton_app),
    ("label", label_app),
    ("viewer", viewer_app),
    ("bundle", bundle_app),
    ("check", check_app),
    ("studies", studies_app),
    ("jobs", jobs_app),
    ("deliveries", deliveries_app),
    ("workers", workers_app),
    ("spool", spool_app),
    ("users", users_app),
    ("audit", audit_app),
):
    app.add_typer(group, name=name)
bundle_app.command("compare")(bundle_compare)
bundle_app.command("gate")(bundle_gate)
bundle_app.command("import")(bundle_import)
bundle_app.command("sign")(bundle_sign)
bundle_app.command("key")(bundle_key)
bundle_app.command("stress")(bundle_stress)
label_app.command("simulate")(label_simulate)
app.command()(init)
app.command()(doctor)
app.command()(conformance)
app.command()(phantom)
app.command()(explain)
app.command()(pull)
app.command()(backup)
app.command()(restore)
app.command()(upgrade)
app.command()(deidentify)
app.command()(reidentify)


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
    from wetread.audit.actor import act_as_operator
    from wetread.logs import configure_logs

    act_as_operator()
    configure_logs(verbose=verbose)


@app.command()
def serve(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the gateway and its dashboard until told to stop (SIGINT, SIGTERM or SIGHUP)."""
    _run_service(config, doors=True)


@app.command()
def work(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read and deliver beside a gateway, without doors of its own, until it is told to stop."""
    _run_service(config, doors=False)


def _run_service(config: Path, *, doors: bool) -> None:
    loaded = load(config)
    stopping = told_to_stop()
    with heavy_imports():
        from wetread.service import Service
        from wetread.web.server import Dashboard

    shown = Dashboard(loaded) if doors and loaded.web.enabled else nullcontext()
    with Service(loaded, doors=doors), shown:
        wait_until(stopping)


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option(help="A DICOM folder of one MR head; else Colin27 is used.")
    ] = None,
    head: Annotated[Path, typer.Option(help="The NIfTI head to use without --study.")] = Path(
        ".cache/head/ch2.nii.gz"
    ),
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("demo-output"),
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
) -> None:
    """Send a real head through the whole loop on this machine, and show every stage."""
    from wetread.demo.stages import say, stage

    started = time.perf_counter()
    with stage("torch, MONAI and OpenVINO loaded"), heavy_imports():
        from wetread.demo.run import run_demo

    run_demo(study=study, head=head, output=output, bundles=bundles, repository=repository)
    say(f"\n{time.perf_counter() - started:.1f} s in all")


@app.command()
def infer(
    path: Annotated[Path, typer.Argument(help="A DICOM folder, file or ZIP, or a NIfTI file.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the settings, or a bundle's name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")],
    also: Annotated[
        list[OnDemand] | None, typer.Option(help="One more object of each series; repeatable.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Read one study without a network: DICOM gives SEG, SR and SC, NIfTI gives NIfTI.

    A series that is at fault is named, the others are read, and the exit code is 3.
    """
    from wetread import console

    settings = load_or_default(config)
    with heavy_imports():
        from wetread.offline.reading import open_named_model, read_path

    with (
        closing(open_named_model(model, settings)) as opened,
        console.progress_bar(model) as progress,
    ):
        readings = read_path(path, opened, output, progress, also or ())
    if as_json:
        console.show_json([reading.as_dict() for reading in readings])
    else:
        rows = [
            (reading.series, reading.outcome, f"{sum(reading.seconds.values()):.1f} s", file)
            for reading in readings
            for file in reading.files or [""]
        ]
        console.show_table(model, ["series", "outcome", "time", "file"], rows)
    if any(reading.is_refused for reading in readings):
        raise typer.Exit(ERROR_CODES[InputError].exit_code)


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
    from wetread.cli.decision import show_decision
    from wetread.offline.routing import decide

    decisions = decide(path, load(config), caller)
    if as_json:
        console.show_json([asdict(decision) for decision in decisions])
        return
    for decision in decisions:
        show_decision(decision)


def main() -> None:
    """Run the command line; a known error ends with its fact, its hint and its exit code."""
    try:
        # Whoever acts does so for this command alone.
        copy_context().run(app)
    except WetreadError as error:
        from wetread.console import show_error

        show_error(error)
        sys.exit(codes_for(error).exit_code)
