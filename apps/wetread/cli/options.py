"""Options and openings that the groups of commands share."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetread.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from wetread.checked import Checked
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


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Around the import of torch and its kin.

    They make a million objects and no garbage. Not looking for any saves about a second here, and
    setting the objects aside saves another one when the process ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load(config: Path) -> Config:
    """The settings in that file."""
    from wetread.config import load_config

    return load_config(config)


def load_or_default(config: Path) -> Config:
    """The settings in that file; the defaults if none was named and there is no wetread.toml."""
    from wetread.config import Config, load_config

    return Config() if config == DEFAULT_CONFIG and not config.exists() else load_config(config)


def ledger_of(settings: Config) -> Ledger:
    """The ledger that the settings name, made if need be."""
    from wetread.ledger import Ledger, ledger_url

    return Ledger(ledger_url(settings), reporter=settings.listener.ae_title)


def open_ledger(config: Path) -> Ledger:
    """The ledger that the settings name. Raises LedgerError if no gateway has made it yet."""
    settings = load(config)
    missing = _missing_file(settings)
    if missing is not None:
        raise LedgerError(
            f"no ledger at {missing}", hint="`wetread serve` makes it; is this its settings file?"
        )
    return ledger_of(settings)


def audit(config: Path, message: dict[str, Any]) -> None:
    """Add to the audit trail of the gateway that the settings name; nothing where there is none."""
    settings = load_or_default(config)
    if _missing_file(settings) is None:
        with closing(ledger_of(settings)) as ledger:
            ledger.trail.record(message)


def _missing_file(settings: Config) -> Path | None:
    from wetread.ledger import ledger_url

    url = ledger_url(settings)
    file = Path(url.removeprefix("sqlite:///"))
    return file if url.startswith("sqlite:///") and not file.is_file() else None


def show_checked(title: str, found: Sequence[Checked], *, as_json: bool) -> None:
    """What a doctor found; ends the command with exit code 2 unless all of it is well."""
    from wetread import console

    if as_json:
        console.show_json([asdict(each) for each in found])
    else:
        rows = [(each.what, "ok" if each.ok else "wrong", each.fact, each.hint) for each in found]
        console.show_table(title, ["what", "state", "fact", "what to do"], rows)
    if not all(each.ok for each in found):
        raise typer.Exit(2)


def named_bundle(name: str, folder: Path) -> Path:
    """The bundle of that name in `folder`, or at that path. Raises ConfigError if there is none."""
    for bundle in (folder / name, Path(name)):
        if (bundle / "configs").is_dir():
            return bundle.resolve()
    known = ", ".join(each.parent.name for each in sorted(folder.glob("*/configs"))) or "none"
    raise ConfigError(
        f"no bundle {name!r} in {folder.absolute()}; there: {known}",
        hint="give the name of a folder there, or a path, or pass --bundles",
    )


def bundles_in(folder: Path) -> list[Path]:
    """The bundles in a folder, by name. Raises ConfigError if there are none."""
    found = sorted(each.parent for each in folder.glob("*/configs") if each.is_dir())
    if not found:
        raise ConfigError(
            f"no bundle in {folder.absolute()}",
            hint="run this in the folder that holds bundles/, or pass --bundles",
        )
    return found
