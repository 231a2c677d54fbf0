"""`wetread init`, `wetread doctor` and `wetread conformance`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_CONFIG,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    ConfigFile,
    Repository,
    bundles_in,
    heavy_imports,
    load,
    named_bundle,
    show_checked,
)
from wetread.errors import ConfigError


def init(
    config: ConfigFile = DEFAULT_CONFIG,
    ae_title: Annotated[str | None, typer.Option(help="Our own AE title.")] = None,
    port: Annotated[int | None, typer.Option(help="Our port for C-STORE.")] = None,
    caller: Annotated[
        list[str] | None, typer.Option(help="An AE title that may send, or *. May be repeated.")
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(help="Where results go: TITLE@host:port, a STOW-RS URL, or a folder."),
    ] = None,
    studies: Annotated[
        str | None, typer.Option(help="The archive's DICOMweb root, which the viewer shows.")
    ] = None,
    spool: Annotated[Path | None, typer.Option(help="The folder for what arrives.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A bundle to read with. May be repeated.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a first settings file with comments; a terminal is asked for what no option says."""
    from wetread.starting import Answers, write_settings

    chosen = (
        tuple(model)
        if model
        else _words(_asked("Bundles to read with", None, ", ".join(_built(bundles, repository))))
    )
    callers = tuple(caller) if caller else _words(_asked("AE titles that may send, or *", None, ""))
    if not callers:
        raise ConfigError("nobody may send", hint="name the senders: --caller CT1, or --caller '*'")
    answers = Answers(
        ae_title=_asked("Our AE title", ae_title, "WETREAD"),
        port=int(_asked("Our port", None if port is None else str(port), "11112")),
        callers=callers,
        destination=_asked(
            "Results go to (TITLE@host:port, a STOW-RS URL, or a folder)", destination, "results"
        ),
        studies=_asked("The archive's DICOMweb root for the viewer, if any", studies, ""),
        spool=Path(_asked("Spool folder", None if spool is None else str(spool), "spool")),
        bundles=tuple(named_bundle(name, bundles) for name in chosen),
        repository=repository.absolute(),
    )
    write_settings(config, answers, replace=force)
    typer.echo(f"{config} is written; next: wetread doctor --config {config}")


def _asked(question: str, given: str | None, usual: str) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return usual
    answer: str = typer.prompt(question, default=usual or None, err=True)
    return answer


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _built(bundles: Path, repository: Path) -> list[str]:
    """Those whose networks are all exported, so that they can read at once."""
    from wetread.infer.description import load_networks

    return [
        bundle.name
        for bundle in bundles_in(bundles)
        if all([*repository.glob(f"{name}/*/model.onnx")] for name in load_networks(bundle))
    ]


def doctor(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Look at everything that these settings need, and say what to do about what is wrong."""
    loaded = load(config)
    with heavy_imports():
        from wetread.doctor import examine
    show_checked("doctor", examine(loaded), as_json=as_json)


def conformance() -> None:
    """Print the DICOM conformance statement, as Markdown, from the tables of the program."""
    from wetread.conformance import statement

    typer.echo(statement(), nl=False)
