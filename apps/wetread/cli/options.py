"""Options and openings that the groups of commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wetread.config import Config
    from wetread.ledger import Ledger

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="WETREAD_CONFIG", help="The settings, a TOML file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("wetread.toml")


Bundles = Annotated[Path, typer.Option(help="The folder of bundles.")]
DEFAULT_BUNDLES = Path("bundles")
Repository = Annotated[Path, typer.Option(help="The folder of exported networks.")]
DEFAULT_REPOSITORY = Path("triton_models")


def load(config: Path) -> Config:
    """The settings in that file."""
    from wetread.config import load_config

    return load_config(config)


def open_ledger(config: Path) -> Ledger:
    """The ledger that the settings name."""
    from wetread.durable import ledger_url
    from wetread.ledger import Ledger

    return Ledger(ledger_url(load(config)))
