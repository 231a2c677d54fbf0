"""`wetread explain`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, heavy_imports, load_or_default
from wetread.errors import ConfigError


def explain(
    path: Annotated[
        Path, typer.Argument(help="A DICOM folder, file or ZIP, a NIfTI file or a picture.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the settings, or a bundle's name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")],
    method: Annotated[
        str,
        typer.Option(
            help="gradcam, gradcam++, saliency, integrated_gradients, occlusion, lime, shap or "
            "feature_maps."
        ),
    ] = "gradcam",
    target: Annotated[
        str | None,
        typer.Option(help="A class or segment; else the likeliest class, the largest segment."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="The layer that Grad-CAM looks at; else one is chosen.")
    ] = None,
    faithfulness: Annotated[
        bool, typer.Option(help="Measure how far the map is to be trusted; takes longer.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show what in an image a model's answer rests on: PNG, and SC and PM for DICOM."""
    from wetread import console

    settings = load_or_default(config)
    with _explainers(), heavy_imports():
        from wetread.offline.explaining import Wish, explain_path
        from wetread.offline.reading import open_named_model

    wish = Wish(method, target, layer, faithfulness)
    with (
        closing(open_named_model(model, settings)) as opened,
        console.progress_bar(model) as progress,
    ):
        found = explain_path(path, opened, wish, output, progress)
    if as_json:
        console.show_json([each.as_dict() for each in found])
        return
    rows = [(each.series, each.outcome, file) for each in found for file in each.files or [""]]
    console.show_table(model, ["series", "outcome", "file"], rows)


@contextmanager
def _explainers() -> Iterator[None]:
    """Around the import of what only this command needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", hint="pip install 'wetread[explain]'"
        ) from error
