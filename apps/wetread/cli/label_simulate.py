"""`wetread label simulate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wetread.cli.bundle import Name
from wetread.cli.options import DEFAULT_BUNDLES, Bundles, heavy_imports, named_bundle


def label_simulate(
    name: Name,
    data: Annotated[Path, typer.Option(help="A folder with a dataset.json: the true labels.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="For rounds and figures; it goes on from them.")
    ],
    strategy: Annotated[
        list[str] | None, typer.Option(help="Such as random or ensemble; repeatable; else all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Simulations of each strategy.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Trainings in each of them.")] = 6,
    start: Annotated[int, typer.Option(min=1, help="Random annotations to begin with.")] = 4,
    per_round: Annotated[int, typer.Option(min=1, help="Further ones after each round.")] = 4,
    candidates: Annotated[
        int, typer.Option(min=1, help="Images that a strategy looks at in a round.")
    ] = 60,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimizer in each training.")] = 80,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Else as train.json.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Else as train.json.")] = None,
    filters: Annotated[
        int | None, typer.Option(min=1, help="Of the network's first level, else as train.json.")
    ] = None,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.1, help="Resample images to this, else leave them.")
    ] = None,
    full_augmentation: Annotated[
        bool, typer.Option("--full-augmentation", help="All of train.json's, not mirrors alone.")
    ] = False,
    bundles: Bundles = DEFAULT_BUNDLES,
) -> None:
    """Play an annotator with true labels, and draw Dice by annotations for every strategy."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.simulate import STRATEGIES, Plan, simulate
        from wetread.models.simulate_report import write_report
        from wetread.models.simulate_train import Lesson

    plan = Plan(tuple(strategy or STRATEGIES), seeds, rounds, start, per_round, candidates)
    lesson = Lesson(steps, batch_size, learning_rate, filters, spacing_mm, full_augmentation)
    with console.progress_bar(bundle.name) as progress:
        played = simulate(bundle, data, output, plan, lesson, progress)
    typer.echo(write_report(output, played), nl=False)
