"""`wetread phantom`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import AsJson, heavy_imports


def phantom(
    output: Annotated[Path, typer.Argument(help="A new folder for the studies.")],
    anatomy: Annotated[str, typer.Option(help="head or chest.")] = "head",
    modality: Annotated[
        list[str] | None,
        typer.Option(help="CT, T1, T2, FLAIR, PD or DX; more than once. Else what is usual."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many subjects.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    form: Annotated[str, typer.Option("--format", help="dicom or nifti.")] = "dicom",
    effects: Annotated[
        str, typer.Option(help="Severities from 0 to 5, such as noise=2,bias=0,motion=1.")
    ] = "",
    lesion: Annotated[
        str | None, typer.Option(help="One class for all subjects; else each class in turn.")
    ] = None,
    side: Annotated[
        str | None, typer.Option(help="left or right, for every lesion; else at random.")
    ] = None,
    matrix: Annotated[int, typer.Option(help="Rows and columns of a slice.")] = 128,
    slices: Annotated[int, typer.Option(help="Slices of a volume.")] = 60,
    inverted: Annotated[bool, typer.Option(help="Store radiographs as MONOCHROME1.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write synthetic patients of known anatomy: DICOM with its true SEG, or NIfTI."""
    from dataclasses import asdict

    from wetread import console

    with heavy_imports():
        from wetread.phantom.recipe import recipe_from
        from wetread.phantom.write import write_studies

    recipe = recipe_from(
        anatomy=anatomy,
        modalities=modality or (),
        seed=seed,
        effects=effects,
        lesion=lesion,
        side=side,
        matrix=matrix,
        slices=slices,
        is_monochrome1=inverted,
    )
    with console.progress_bar("phantom") as progress:
        rows = write_studies(recipe, count, output, form, progress)
    if as_json:
        console.show_json([asdict(row) for row in rows])
        return
    columns = ["file", "label", "split", "modality", "side", "lesion mL"]
    table = [(r.file, r.label, r.split, r.modality, r.side, r.lesion_ml) for r in rows]
    console.show_table(str(output), columns, table)
