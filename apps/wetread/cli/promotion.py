"""`wetread models promote`, `rollback`, `history` and `shadow`"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wetread.cli.options import (
    DEFAULT_BUNDLES,
    DEFAULT_CONFIG,
    DEFAULT_REPOSITORY,
    AsJson,
    Bundles,
    ConfigFile,
    Repository,
    audit,
    heavy_imports,
    load,
    load_or_default,
    named_bundle,
)
from wetread.errors import ConfigError, ModelContractError
from wetread.models.terms import Terms

if TYPE_CHECKING:
    from wetread.config import ModelConfig
    from wetread.models.comparison import ComparedSet, Difference
    from wetread.models.history import Entry
    from wetread.models.promote import Outcome
    from wetread.models.shadow_record import Summary

Name = Annotated[str, typer.Argument(metavar="NAME", help="A bundle's name, or its path.")]
USUAL = Terms()
By = Annotated[str | None, typer.Option(help="Who does it; else the user of this machine.")]
_COLUMNS = ["set", "cases", "figure", "current", "candidate", "difference"]


def models_promote(
    name: Name,
    candidate: Annotated[
        Path | None,
        typer.Option(help="A copy of the bundle with other weights; else that of --annotations."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with a dataset.json or a labels.csv.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Else val if there is one, else test, else all.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="The folder of corrections; those held out are read.")
    ] = None,
    newest: Annotated[
        int, typer.Option(min=1, help="So many of the held-out corrections.")
    ] = USUAL.newest,
    margin: Annotated[
        float, typer.Option(help="The interval of candidate − current must lie above it.")
    ] = USUAL.margin,
    least_cases: Annotated[
        int, typer.Option(min=1, help="A set of fewer cannot carry a promotion.")
    ] = USUAL.least_cases,
    least_group: Annotated[
        int, typer.Option(min=1, help="A subgroup of fewer is shown, not judged.")
    ] = USUAL.least_group,
    dry_run: Annotated[bool, typer.Option(help="Compare and judge, change nothing.")] = False,
    by: By = None,
    page: Annotated[
        Path | None, typer.Option(help="Where the report goes, an HTML file with a JSON beside it.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Put a candidate in the place of the current model, or refuse it with the figures."""
    from wetread import console
    from wetread.audit.events import model_changed

    bundle = named_bundle(name, bundles)
    candidate = _candidate(bundle, candidate, annotations)
    models = _models_of(bundle, repository, config)
    with heavy_imports():
        from wetread.models.evidence import Evidence
        from wetread.models.promote import Proposal, promote, try_candidate
        from wetread.models.switch import servers_of

    proposal = Proposal(
        bundle,
        candidate.resolve(),
        repository.resolve(),
        Evidence(data, split, annotations),
        Terms(margin, least_cases, least_group, newest),
        _who(by),
        None if page is None else page.resolve(),
    )
    now = datetime.now().astimezone()
    with console.progress_bar(bundle.name) as progress:
        if dry_run:
            outcome = try_candidate(proposal, now, progress)
        else:
            outcome = promote(proposal, now, progress, servers_of(models))
    if not dry_run:
        done = "promoted" if outcome.verdict.is_promotion else "a candidate was refused"
        audit(config, model_changed(bundle.name, f"{done}, by {_who(by)}"))
    _show(bundle.name, outcome, as_json=as_json)
    if not outcome.verdict.is_promotion:
        raise ModelContractError(
            f"{bundle.name}: the candidate is refused:\n" + "\n".join(outcome.verdict.reasons),
            hint=f"see {outcome.page}",
        )


def _candidate(bundle: Path, candidate: Path | None, annotations: Path | None) -> Path:
    """The one that is named, else where `wetread bundle train --from-annotations` puts it."""
    if candidate is None and annotations is not None:
        candidate = annotations / bundle.name / "candidate"
    if candidate is None:
        raise ConfigError("no candidate", hint="--candidate, or --annotations that it came from")
    if not (candidate / "configs").is_dir():
        raise ConfigError(f"{candidate} is no bundle", hint="give a copy of the bundle's folder")
    return candidate


def models_rollback(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: By = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    repository: Repository = DEFAULT_REPOSITORY,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Restore what was served before the last promotion."""
    from wetread import console
    from wetread.audit.events import model_changed

    bundle = named_bundle(name, bundles)
    models = _models_of(bundle, repository, config)
    with heavy_imports():
        from wetread.models.promote import roll_back
        from wetread.models.switch import servers_of

    now, servers = datetime.now().astimezone(), servers_of(models)
    entry = roll_back(bundle, repository.resolve(), _who(by), reason, now, servers)
    audit(config, model_changed(bundle.name, f"rolled back, by {_who(by)}: {reason}"))
    if as_json:
        console.show_json(entry.as_dict())
        return
    console.show_table(f"{bundle.name}: rolled back", _HISTORY, [_row(entry)])


def models_history(name: Name, bundles: Bundles = DEFAULT_BUNDLES, as_json: AsJson = False) -> None:
    """Show every promotion, refusal and rollback of a bundle."""
    from wetread import console

    bundle = named_bundle(name, bundles)
    with heavy_imports():
        from wetread.models.history import read_history

    entries = read_history(bundle)
    if as_json:
        console.show_json([each.as_dict() for each in entries])
        return
    console.show_table(f"promotions of {bundle.name}", _HISTORY, list(map(_row, entries)))


_HISTORY = ["number", "when", "what", "by", "from", "to", "figures", "reason"]


def _row(entry: Entry) -> tuple[object, ...]:
    figures = ", ".join(
        f"{each['figure']} {each['current']:.3f} → {each['candidate']:.3f} ({each['count']})"
        for each in entry.figures.values()
    )
    return (
        entry.number,
        entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        entry.action,
        entry.by,
        entry.before.version,
        entry.after.version if entry.after else "",
        figures,
        entry.reason,
    )


def _who(by: str | None) -> str:
    from wetread.audit.actor import operator_name

    return by or operator_name()


def _models_of(bundle: Path, repository: Path, config: Path) -> list[ModelConfig]:
    """The models of the settings that serve this bundle, which they must do from `repository`."""
    settings = load_or_default(config)
    used = {name: each for name, each in settings.models.items() if each.bundle == bundle}
    if used and settings.model_repository.resolve() != repository.resolve():
        raise ConfigError(
            f"{config}: {', '.join(used)} is served from {settings.model_repository}, "
            f"not from {repository.resolve()}",
            hint=f"--repository {settings.model_repository}",
        )
    return list(used.values())


def _show(name: str, outcome: Outcome, *, as_json: bool) -> None:
    from wetread import console

    if as_json:
        entry = None if outcome.entry is None else outcome.entry.as_dict()
        console.show_json(
            {
                "is_promotion": outcome.verdict.is_promotion,
                "reasons": outcome.verdict.reasons,
                "findings": outcome.verdict.findings,
                "sets": [each.as_dict() for each in outcome.sets],
                "page": outcome.page,
                "entry": entry,
            }
        )
        return
    rows = [row for each in outcome.sets for row in _rows(each)]
    console.show_table(name, _COLUMNS, rows)
    after = outcome.entry.after if outcome.entry else None
    if after is not None:
        typer.echo(f"promoted: {after.name} {after.version}, weights {after.weights_sha256[:12]}")
    elif outcome.verdict.is_promotion:
        typer.echo("it would be promoted")
    typer.echo(f"report: {outcome.page}")


def _rows(found: ComparedSet) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        (found.name, len(found.cases), found.figure, *_cells(found.whole))
    ]
    rows += [(each.name, each.count, found.figure, *_cells(each.found)) for each in found.groups]
    return rows


def _cells(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    from wetread.models.verdict import difference_text

    return f"{found.current:.3f}", f"{found.candidate:.3f}", difference_text(found)


def models_shadow(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the settings.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show how a candidate differs that reads live studies beside a model."""
    from wetread import console

    settings = load(config)
    if name not in settings.models:
        known = ", ".join(settings.models) or "none"
        raise ConfigError(f"no model {name!r}; known: {known}", hint=f"see {config}")
    with heavy_imports():
        from wetread.models.shadow_record import read_records, records_file, summarise

    found = summarise(read_records(records_file(settings.spool.path, name)))
    if as_json:
        console.show_json(found.as_dict())
        return
    console.show_table(f"shadow of {name}", ["", "found"], _shadow_rows(found))
    worst = [
        (each.series_instance_uid, each.study_instance_uid, f"{1 - each.distance:.3f}")
        for each in found.worst
    ]
    console.show_table("farthest apart", ["series", "study", "agreement"], worst)


def _shadow_rows(found: Summary) -> list[tuple[str, object]]:
    models = [
        (what, f"{model.name} {model.version}, weights {model.weights_sha256[:12]}")
        for what, model in (("current", found.current), ("candidate", found.candidate))
        if model is not None
    ]
    rows: list[tuple[str, object]] = [*models, ("series compared", found.count)]
    rows += [("failed", found.failed), ("skipped", found.skipped)]
    if found.reason:
        rows.append(("last failure", found.reason))
    if found.mean_dice is not None:
        rows.append(("mean Dice", f"{found.mean_dice:.3f}"))
    rows += [
        (
            label,
            f"Dice {each['mean_dice']:.3f}, candidate − current "
            f"{each['mean_difference_ml']:+.3f} mL".replace("-", "−"),
        )
        for label, each in found.segments.items()
    ]
    if found.same_label is not None:
        rows.append(("same likeliest class", f"{100 * found.same_label:.1f} %"))
    rows += [(label, f"probabilities differ by {gap:.3f}") for label, gap in found.classes.items()]
    return rows
