"""`wetread bundle compare`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_REPOSITORY,
    Bundles,
    Repository,
    heavy_imports,
)


def bundle_compare(
    claims: Annotated[
        Path, typer.Argument(help="The study's claims and our bundles, a JSON file.")
    ] = DEFAULT_BUNDLES / "claims.json",
    data: Annotated[
        Path | None, typer.Option(help="Measure anew on the folders of data in this one.")
    ] = None,
    variants: Annotated[
        Path | None, typer.Option(help="A folder of further trained bundles.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Keep the figures, and put the table on this page.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
) -> None:
    """Print a study's claims beside what our bundles measure, as a Markdown table."""
    from wetread import console

    with heavy_imports():
        from wetread.models import compare

    found = compare.read_claims(claims)
    if data is not None:
        folders = [folder.resolve() for folder in (bundles, variants) if folder is not None]
        with console.progress_bar("compare") as progress:
            found = compare.measure_claims(found, folders, data, repository, progress)
    table = compare.claims_table(found)
    if write is not None:
        compare.replace_table(write, table)
        compare.write_claims(claims, found)
    typer.echo(table, nl=False)
