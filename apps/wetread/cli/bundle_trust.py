"""`wetread bundle import`, `sign` and `key`: who vouches for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_CONFIG,
    Bundles,
    ConfigFile,
    audit,
    heavy_imports,
    load_or_default,
    named_bundle,
)


def bundle_import(
    source: Annotated[Path, typer.Argument(help="A bundle's folder, ZIP or TAR.")],
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="A public key, beside trusted_keys of the settings. May be repeated."),
    ] = None,
    vouch: Annotated[
        Path | None,
        typer.Option(help="Our private key: seal and sign what we have read ourselves."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of one of that name.")
    ] = False,
    bundles: Bundles = DEFAULT_BUNDLES,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take in a bundle from elsewhere, if it is whole and a trusted key has signed it.

    Nothing of it is run. What it would run is told: read that before the bundle is built.
    """
    from wetread.audit.events import model_changed

    trusted = (*load_or_default(config).trusted_keys, *(trust or ()))
    with heavy_imports():
        from wetread.models.importing import import_bundle

    found = import_bundle(source, bundles, trusted, vouch=vouch, replace=replace)
    audit(config, model_changed(found.bundle.name, f"imported, vouched for by {found.key}"))
    typer.echo(f"{found.bundle}: whole, vouched for by {found.key}")
    others = ", ".join(found.modules) or "none"
    scripts = ", ".join(found.scripts) or "none"
    typer.echo(
        f"its configs hold {found.expressions} expressions; modules of others: {others}; "
        f"Python files: {scripts}"
    )
    if found.left_out:
        typer.echo(f"left out, for no manifest covers it: {', '.join(found.left_out)}")


def bundle_sign(
    name: Annotated[str, typer.Argument(help="The bundle's name.", metavar="BUNDLE")],
    key: Annotated[Path, typer.Option(help="Our private key.")],
    bundles: Bundles = DEFAULT_BUNDLES,
) -> None:
    """Seal a bundle and sign its SHA256SUMS; every change after that needs a new signature."""
    from wetread.models.signing import sign

    typer.echo(sign(named_bundle(name, bundles), key))


def bundle_key(
    private: Annotated[Path, typer.Argument(help="The file of the private key.", metavar="FILE")],
) -> None:
    """Make a pair of keys: FILE, which stays here, and FILE.pub for trusted_keys elsewhere."""
    from wetread.models.signing import make_keys

    typer.echo(make_keys(private))
