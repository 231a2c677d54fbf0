"""`wetread bundle …`"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    Repository,
    heavy_imports,
    named_bundle,
)
from wetread.errors import ConfigError

bundle_app = typer.Typer(help="Make, train and evaluate bundles.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's name, or its path.")]
Data = Annotated[Path, typer.Option(help="A folder with a dataset.json or a labels.csv.")]


@bundle_app.command("train")
def bundle_train(
    name: Name,
    data: Annotated[Path | None, typer.Option(help="The folder of training data.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="For weights and checkpoints, else the bundle's models/; or a candidate."
        ),
    ] = None,
    from_annotations: Annotated[
        Path | None,
        typer.Option(help="Train a candidate on the corrections there; --data is learnt beside."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Else what train.json says.")] = None,
    fresh: Annotated[bool, typer.Option(help="Do not go on from a checkpoint.")] = False,
    bundles: Bundles = DEFAULT_BUNDLES,
) -> None:
    """Train a bundle by its train.json; one that was cut short goes on."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.fine_tune import EPOCHS, fine_tune
        from wetread.models.train import train_bundle

    started = time.perf_counter()
    with console.progress_bar(bundle.name) as bar:

        def progress(epoch: int, fraction: float, best: float | None) -> None:
            bar(f"epoch {epoch}" + ("" if best is None else f", best {best:.4f}"), fraction)

        if from_annotations is not None:
            found = fine_tune(
                bundle,
                from_annotations,
                output or from_annotations / bundle.name / "candidate",
                progress,
                data=data,
                epochs=epochs or EPOCHS,
                fresh=fresh,
            )
        elif data is not None:
            found = train_bundle(
                bundle, data, output or bundle / "models", progress, epochs=epochs, fresh=fresh
            )
        else:
            raise ConfigError(
                f"no data to train {bundle.name} on", hint="--data, or --from-annotations"
            )
    rows = [
        ("weights", found.weights),
        ("epochs", found.epochs),
        (f"best {found.metric}", f"{found.best_score:.4f} at epoch {found.best_epoch}"),
        ("minutes", f"{(time.perf_counter() - started) / 60:.1f}"),
    ]
    console.show_table(bundle.name, ["", "trained"], rows)


@bundle_app.command("evaluate")
def bundle_evaluate(
    name: Name,
    data: Data,
    split: Annotated[
        str | None, typer.Option(help="Else val if there is one, else test, else all.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    page: Annotated[
        Path | None, typer.Option(help="Write a page of charts and the worst cases, an HTML file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every case as the gateway would, and compare it with its label."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.evaluation import built_model, evaluate
        from wetread.models.page import Evaluation, write_evaluation_page

    with (
        console.progress_bar(bundle.name) as progress,
        built_model(bundle, repository, progress) as model,
    ):
        result = evaluate(model, data, split, progress)
        found = result.as_dict()
        if page is not None:
            evaluation = Evaluation(model, data, split, result, found)
            write_evaluation_page(page, evaluation, datetime.now().astimezone(), progress)
    if as_json:
        console.show_json(found)
    elif "auc" in found:
        console.show_table(_title(bundle, found), ["", "figure"], _class_figures(found))
    else:
        console.show_table(_title(bundle, found), _COLUMNS, _figures(found))


@bundle_app.command("new")
def bundle_new(
    name: Annotated[
        str | None, typer.Argument(metavar="[BUNDLE]", help="The name of a classifier's bundle.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Its recipe, a JSON file.")] = None,
    existing: Annotated[
        Path | None, typer.Option("--from", help="Or a Model Zoo bundle, to add what it lacks.")
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option(help="LABEL=SCHEME:VALUE:MEANING, with --from.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
) -> None:
    """Write a classifier's bundle from one recipe, or add DICOM's words to a Model Zoo bundle."""
    if (name is None or recipe is None) == (existing is None):
        raise ConfigError(
            "either BUNDLE with --recipe, or --from", hint="wetread bundle new --help"
        )
    with heavy_imports():
        from wetread.models.recipe import new_classifier
        from wetread.models.zoo import adopt, parse_code

    if existing is not None:
        written = adopt(existing.resolve(), dict(map(parse_code, code or [])))
    elif name is not None and recipe is not None:
        written = new_classifier(recipe, bundles / name)
    for path in written:
        typer.echo(path)


@bundle_app.command("export")
def bundle_export(
    name: Name, bundles: Bundles = DEFAULT_BUNDLES, repository: Repository = DEFAULT_REPOSITORY
) -> None:
    """Export a bundle's networks to ONNX, and check them against the originals."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.export import build_models

    with console.progress_bar(bundle.name) as progress:
        built = build_models(bundle, repository, progress)
    rows = [(each.network, each.path, each.summary) for each in built]
    console.show_table(bundle.name, ["network", "file", "result"], rows)


@bundle_app.command("seal")
def bundle_seal(name: Name, bundles: Bundles = DEFAULT_BUNDLES) -> None:
    """Write the SHA-256 of every file of a bundle; `wetread models check` compares."""
    from wetread.models.manifest import seal

    typer.echo(seal(named_bundle(name, bundles)))


_COLUMNS = ["segment", "Dice", "IoU", "HD95, mm", "volume error, mL"]
_KEYS = ("dice", "iou", "hd95_mm", "volume_error_ml")


def _title(bundle: Path, found: dict[str, Any]) -> str:
    return f"{bundle.name}, {found['count']} cases"


def _class_figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """One row a figure, each with its 95 % interval."""
    intervals = found["intervals"]
    rows = [
        (key.replace("_", " "), _with_interval(found[key], intervals[key]))
        for key in ("auc", "accuracy", "balanced_accuracy", "ece")
    ]
    rows += [
        (f"{key} for {label}", _with_interval(value, intervals[key][label]))
        for key in ("sensitivity", "specificity")
        for label, value in found.get(key, {}).items()
    ]
    return rows


def _figures(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a segment: each mean with its 95 % interval."""
    intervals = found["intervals"]
    rows = [
        (label, *(_with_interval(found[key][label], intervals[key][label]) for key in _KEYS))
        for label in found["dice"]
    ]
    mean = _with_interval(found["mean_dice"], intervals["mean_dice"])
    return [*rows, ("mean", mean, "", "", "")]


def _with_interval(value: float | None, bounds: tuple[float, float] | None) -> str:
    if value is None or bounds is None:
        return "–"
    return f"{value:.3f} [{bounds[0]:.3f} to {bounds[1]:.3f}]"
