"""`wetread check …`"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, heavy_imports, load
from wetread.errors import ERROR_CODES, ConfigError, InputError

if TYPE_CHECKING:
    from wetread.offline.checking import FileVerdict

check_app = typer.Typer(help="Check settings, destinations, models and data.", no_args_is_help=True)


@check_app.command("config")
def check_config(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read the settings and say what they are."""
    from wetread import console

    loaded = load(config)
    rows = [
        ("listens", f"{loaded.listener.ae_title} at {loaded.listener.host}:{loaded.listener.port}"),
        ("accepts", ", ".join(loaded.listener.accept_calling_ae_titles) or "nobody"),
        ("spool", loaded.spool.path),
        ("models", ", ".join(loaded.models) or "none"),
        ("destinations", ", ".join(loaded.destinations) or "none"),
        ("rules", len(loaded.rules)),
    ]
    console.show_table(f"{config}: no fault found", ["setting", "value"], rows)


@check_app.command("data")
def check_data_of(
    path: Annotated[Path, typer.Argument(help="A DICOM folder, file or ZIP.", metavar="DIR")],
    as_json: AsJson = False,
) -> None:
    """Say of every file whether it can be read, alone and in its series, or why not.

    The exit code is 0, or 3 if any file is refused; a file that is no image is not.
    """
    from wetread import console
    from wetread.offline.checking import Verdict, check_data

    with console.progress_bar("checking") as progress:
        verdicts = check_data(path, progress)
    if as_json:
        console.show_json([each.as_dict() for each in verdicts])
    else:
        # A person reads a reason once; what goes to grep has it on every line.
        same = _alike if sys.stdout.isatty() else _by_itself
        rows = [
            ("\n".join(str(each.file) for each in files), verdict, reason)
            for (verdict, reason, _), group in groupby(verdicts, same)
            if (files := list(group))
        ]
        counts = Counter(each.verdict for each in verdicts)
        words = [f"{counts[each]} {each.replace('_', ' ')}" for each in Verdict if counts[each]]
        console.show_table(f"{path}: {', '.join(words)}", ["file", "verdict", "reason"], rows)
    if any(each.verdict is Verdict.REFUSED for each in verdicts):
        raise typer.Exit(ERROR_CODES[InputError].exit_code)


def _alike(each: FileVerdict) -> tuple[str, str, str]:
    return each.verdict, each.reason, str(each.file.parent)


def _by_itself(each: FileVerdict) -> tuple[str, str, str]:
    return each.verdict, each.reason, str(each.file)


@check_app.command("destination")
def check_destination(
    name: Annotated[str, typer.Argument(help="The destination's name in the settings.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Ask whether a destination is there: a C-ECHO, search or connection, or a look at a folder."""
    from wetread.deliver.registry import open_destination

    settings = load(config)
    destinations = settings.destinations
    if name not in destinations:
        known = ", ".join(destinations) or "none"
        raise ConfigError(f"no destination {name!r}; known: {known}", hint=f"see {config}")
    typer.echo(open_destination(name, destinations[name], settings.deidentify).test())


@check_app.command("archive")
def check_archive(
    name: Annotated[str, typer.Argument(help="The archive's name in the settings.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Ask an archive whether it is there, by a C-ECHO."""
    from wetread.cli.pull import archive_of
    from wetread.deliver.peers import archive_peer
    from wetread.dicom.network import echo

    typer.echo(echo(archive_peer(name, archive_of(load(config), name))))


@check_app.command("models")
def check_models(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Open every configured model: files there, hashes known, contract kept."""
    from wetread import console

    loaded = load(config)
    with heavy_imports():
        from wetread.infer.shelf import ModelShelf

    shelf = ModelShelf(loaded.models, loaded.model_repository)
    rows = []
    for name in loaded.models:
        identity = shelf.get(name).identity
        rows.append((name, identity.version, identity.weights_sha256[:12], "done"))
    shelf.close()
    console.show_table("models", ["model", "version", "weights", "opened"], rows)
