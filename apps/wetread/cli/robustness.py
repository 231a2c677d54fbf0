"""`wetread bundle gate` and `wetread bundle stress`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from wetread.cli.bundle import Data, Name
from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    Repository,
    heavy_imports,
    named_bundle,
)


def bundle_gate(
    name: Name,
    data: Data,
    against: Annotated[
        list[Path] | None, typer.Option(help="A folder of other images to tell apart; repeatable.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    as_json: AsJson = False,
) -> None:
    """Learn from a bundle's training data which images are unlike them, and keep it there."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.infer.gate import save_gate
        from wetread.models.evaluation import built_model
        from wetread.models.gate import calibrate_gate
        from wetread.models.manifest import renew_seal

    with (
        console.progress_bar(bundle.name) as progress,
        built_model(bundle, repository, progress) as model,
    ):
        found = calibrate_gate(model, data, against or [], progress)
    path = save_gate(found.gate, bundle)
    renew_seal(bundle)
    if as_json:
        console.show_json({"path": path, **found.as_dict()})
    else:
        title = f"{path}, limit {found.gate.limit:.1f}"
        console.show_table(title, ["images", "count", "flagged", "AUROC"], _separations(found))


def _separations(found: Any) -> list[tuple[str, int, str, str]]:
    own = ("validation", found.gate.val_cases, f"{found.val_flagged:.0%}", "")
    others = (
        (each.name, each.count, f"{each.flagged:.0%}", f"{each.auroc:.3f}") for each in found.others
    )
    return [own, *others]


def bundle_stress(
    name: Name,
    data: Data,
    kind: Annotated[
        list[str] | None, typer.Option(help="Such as noise or fgsm; repeatable; else all.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of the data, as for evaluate.")] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="At most so many, evenly taken.")] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    as_json: AsJson = False,
) -> None:
    """Evaluate a bundle on images that are noisy, moved, coarse or attacked, in five severities."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.export import build_models
        from wetread.models.stress import KINDS, open_stressed, stress_model

    with console.progress_bar(bundle.name) as progress:
        build_models(bundle, repository, progress)
        with closing(open_stressed(bundle, repository)) as model:
            found = stress_model(
                model, data, progress, kinds=kind or KINDS, split=split, most_cases=cases
            )
    if as_json:
        console.show_json(found.as_dict())
        return
    for metric in found.clean.figures:
        title = f"{metric} of {found.count} cases by severity, and the share that the gate flags"
        columns = ["kind", "0", *map(str, range(1, 6))]
        console.show_table(title, columns, _by_severity(found, metric))


def _by_severity(found: Any, metric: str) -> list[tuple[str, ...]]:
    rows: dict[str, list[str]] = {}
    for point in found.points:
        row = rows.setdefault(point.kind, [_cell(found.clean, metric)])
        row.append(_cell(point, metric))
    return [(kind, *cells) for kind, cells in rows.items()]


def _cell(point: Any, metric: str) -> str:
    value = point.figures.get(metric)
    figure = "–" if value is None else f"{value:.3f}"
    return figure if point.flagged is None else f"{figure} ({point.flagged:.0%})"
