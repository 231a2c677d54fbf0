"""`wetread models …`"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    Repository,
    bundles_in,
    heavy_imports,
    named_bundle,
)
from wetread.cli.promotion import models_history, models_promote, models_rollback, models_shadow
from wetread.errors import ConfigError
from wetread.models.targets import Precision, Target

if TYPE_CHECKING:
    from wetread.infer.base import Progress
    from wetread.models.record import BuiltModel

models_app = typer.Typer(
    help="Build, check and list the models, promote a better one.", no_args_is_help=True
)


_UNTRAINED = "has no weights yet: wetread bundle train"


@models_app.command("build")
def models_build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Bundles, by name or path; without any, all.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Add a form of fewer bits, fp16 or int8; fp32 takes them away."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The data of one bundle, to calibrate int8 and to judge it."),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="tensorrt: also plans for the GPU here, in Triton's container.")
    ] = Target.ONNX,
) -> None:
    """Export the networks of every bundle to ONNX, check them against the originals."""
    from wetread import console

    found = [named_bundle(name, bundles) for name in names] if names else bundles_in(bundles)
    if data is not None and len(found) > 1:
        raise ConfigError("--data is of one bundle", hint="name it: wetread models build NAME")
    build, is_trained = _builder(repository, precision, data, target)
    rows: list[tuple[str, str, str]] = []
    for bundle in found:
        if not names and not is_trained(bundle):
            rows.append((bundle.name, "", _UNTRAINED))
            continue
        with console.progress_bar(bundle.name) as progress:
            built = build(bundle, progress)
        rows += [(bundle.name, each.network, each.summary) for each in built]
    console.show_table("models", ["bundle", "network", "result"], rows)


def _builder(
    repository: Path, precision: Precision | None, data: Path | None, target: Target
) -> tuple[Callable[[Path, Progress], list[BuiltModel]], Callable[[Path], bool]]:
    """What builds a bundle as asked, and what tells whether one has weights."""
    with heavy_imports():
        from wetread.models.export import build_models
        from wetread.models.original import is_trained
        from wetread.models.plans import build_plans, find_builder
        from wetread.models.readings import write_reading

        if precision is not None:
            with _converters():
                from wetread.models.forms import build_form
    builder = find_builder() if target is Target.TENSORRT else None

    def build(bundle: Path, progress: Progress) -> list[BuiltModel]:
        if precision is not None:
            built = build_form(bundle, repository, precision, data, progress)
        else:
            built = build_models(bundle, repository, progress)
        built = build_plans(bundle, repository, builder, progress) if builder else built
        write_reading(bundle, repository)
        return built

    return build, is_trained


@contextmanager
def _converters() -> Iterator[None]:
    """Around the import of what only other precisions need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", hint="pip install 'wetread[forms]'"
        ) from error


@models_app.command("list")
def models_list(
    repository: Repository = DEFAULT_REPOSITORY,
    as_json: AsJson = False,
) -> None:
    """List the exported networks."""
    from dataclasses import asdict

    from wetread import console

    with heavy_imports():
        from wetread.models.export import list_models

    found = list_models(repository)
    if as_json:
        console.show_json([asdict(each) for each in found])
        return
    rows = [(each.network, each.version, each.onnx_sha256[:12], each.path) for each in found]
    console.show_table("networks", ["network", "version", "sha256", "file"], rows)


@models_app.command("check")
def models_check(
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
) -> None:
    """Check every network against its bundle's contract, with one real forward pass."""
    from wetread import console

    found = bundles_in(bundles)
    with heavy_imports():
        from wetread.models.export import check_model
        from wetread.models.manifest import check_seal
        from wetread.models.original import is_trained

    rows: list[tuple[str, str, str]] = []
    for bundle in found:
        check_seal(bundle)
        checked = check_model(bundle, repository) if is_trained(bundle) else []
        rows += [(bundle.name, each.network, each.summary) for each in checked]
        rows += [] if checked else [(bundle.name, "", _UNTRAINED)]
    console.show_table("models", ["bundle", "network", "result"], rows)


models_app.command("promote")(models_promote)
models_app.command("rollback")(models_rollback)
models_app.command("history")(models_history)
models_app.command("shadow")(models_shadow)
