"""`wetread models …`"""

from __future__ import annotations

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    Repository,
    bundles_in,
    heavy_imports,
)

models_app = typer.Typer(help="Build, list and check the models.", no_args_is_help=True)


_UNTRAINED = "has no weights yet: wetread bundle train"


@models_app.command("build")
def models_build(
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
) -> None:
    """Export the networks of every bundle to ONNX, check them against the originals."""
    from wetread import console

    found = bundles_in(bundles)
    with heavy_imports():
        from wetread.models.export import build_models
        from wetread.models.original import is_trained

    rows: list[tuple[str, str, str]] = []
    for bundle in found:
        if not is_trained(bundle):
            rows.append((bundle.name, "", _UNTRAINED))
            continue
        with console.progress_bar(bundle.name) as progress:
            built = build_models(bundle, repository, progress)
        rows += [(bundle.name, each.network, each.summary) for each in built]
    console.show_table("models", ["bundle", "network", "result"], rows)


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
