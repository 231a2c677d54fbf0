"""A better model takes the place of the current one, or is refused with the figures; and back.

`promote` compares candidate and current, judges by declared terms, writes a report and a line of
history, and switches what is served, see `switch`. `roll_back` restores the state before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from wetread.errors import ConfigError, ModelContractError
from wetread.files import write_atomically
from wetread.infer.base import Progress
from wetread.infer.served import PROMOTIONS
from wetread.models.candidate import (
    Served,
    Trial,
    check_candidate,
    opened_pair,
    served_identity,
    served_of,
)
from wetread.models.comparison import ComparedSet
from wetread.models.evidence import (
    Corrections,
    Evidence,
    check_evidence,
    compare,
    corrections_for,
)
from wetread.models.history import (
    Action,
    Entry,
    append_entry,
    next_number,
    next_version,
    promotion_to_undo,
    read_history,
)
from wetread.models.kept import FILES, METADATA, read_state
from wetread.models.page_promotion import Report, write_report
from wetread.models.record import version_folders
from wetread.models.switch import (
    Change,
    Load,
    Reached,
    no_servers,
    nobody,
    only_promotion,
    remove_leftovers,
    settle_locked,
    switch,
)
from wetread.models.terms import Terms
from wetread.models.verdict import Verdict, judge
from wetread.results import ModelIdentity

_REPORTS = f"{PROMOTIONS}/reports"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who wants which candidate in the place of which bundle, on what evidence, by what terms.

    `page` is where the report goes, else among the bundle's own.
    """

    bundle: Path
    candidate: Path
    repository: Path
    evidence: Evidence
    terms: Terms
    by: str
    page: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The comparison, the verdict and where the page about it is; `entry` is None for a trial."""

    sets: tuple[ComparedSet, ...]
    verdict: Verdict
    page: Path
    entry: Entry | None


def try_candidate(proposal: Proposal, now: datetime, progress: Progress) -> Outcome:
    """Compare and judge, write the report, and change nothing. Raises as `promote`."""
    check_evidence(proposal.bundle, proposal.evidence)
    served = served_of(proposal.bundle, proposal.repository)
    check_candidate(served, proposal.candidate)
    corrections = _corrections(proposal)
    with opened_pair(served, proposal.candidate, proposal.repository, progress) as trial:
        sets, verdict = _judged(proposal, trial, corrections, progress)
    page = _write_page(proposal, served.identity, None, sets, verdict, now)
    return Outcome(tuple(sets), verdict, page, None)


def promote(
    proposal: Proposal,
    now: datetime,
    progress: Progress,
    load: Load = no_servers,
    reached: Reached = nobody,
) -> Outcome:
    """Judge the candidate and, if nothing stands against it, put it in the place of the current.

    `load` lets the model's servers load a network, `reached` is told each step of the switch.
    A refusal stands in the history.

    Raises ModelContractError for a candidate that cannot be compared at all, ConfigError if
    another promotion is under way or what is served is not the bundle's, InputError for data that
    cannot be read, StorageError, and InferenceError if a server cannot load the new version: all
    is as before then.
    """
    bundle, repository = proposal.bundle, proposal.repository
    check_evidence(bundle, proposal.evidence)
    with only_promotion(bundle):
        settle_locked(bundle, load)
        remove_leftovers(bundle, repository)
        served = served_of(bundle, repository)
        corrections = _corrections(proposal)
        try:
            check_candidate(served, proposal.candidate)
            with opened_pair(served, proposal.candidate, repository, progress) as trial:
                sets, verdict = _judged(proposal, trial, corrections, progress)
                if not verdict.is_promotion:
                    return _refused(proposal, served, sets, verdict, now)
                change = _change(proposal, served, trial, sets, corrections, now)
                after = change.entry.after
                page = _write_page(proposal, served.identity, after, sets, verdict, now)
                entry = replace(change.entry, report=_within(bundle, page))
                switch(replace(change, entry=entry), load, reached)
        except (ModelContractError, ConfigError) as error:
            append_entry(bundle, _refusal(proposal, served, error.message, now))
            raise
    return Outcome(tuple(sets), verdict, page, entry)


def _refused(
    proposal: Proposal,
    served: Served,
    sets: Sequence[ComparedSet],
    verdict: Verdict,
    now: datetime,
) -> Outcome:
    page = _write_page(proposal, served.identity, None, sets, verdict, now)
    entry = replace(
        _refusal(proposal, served, "; ".join(verdict.reasons), now),
        figures=_figures(sets),
        report=_within(proposal.bundle, page),
    )
    append_entry(proposal.bundle, entry)
    return Outcome(tuple(sets), verdict, page, entry)


def roll_back(
    bundle: Path,
    repository: Path,
    by: str,
    reason: str,
    now: datetime,
    load: Load = no_servers,
    reached: Reached = nobody,
) -> Entry:
    """Restore the state before the last promotion that was not undone yet.

    Its weights become the next version of their network, so that no version ever has two contents.

    Raises ConfigError if there is nothing to undo, or if what was kept is not whole, and as
    `promote`.
    """
    with only_promotion(bundle):
        settled = settle_locked(bundle, load)
        if settled and settled.is_finished and settled.entry.action is Action.ROLLED_BACK:
            # Who asks again for a rollback that was killed wants that one, not another.
            return settled.entry
        remove_leftovers(bundle, repository)
        entries = read_history(bundle)
        undone = promotion_to_undo(entries)
        if undone is None:
            raise ConfigError(
                f"{bundle.name} has no promotion to undo", hint="see wetread models history"
            )
        kept = read_state(bundle / PROMOTIONS / str(undone.number) / "before")
        entry = Entry(
            number=next_number(bundle, entries),
            action=Action.ROLLED_BACK,
            at=now,
            by=by,
            before=served_identity(bundle, repository),
            after=undone.before,
            reason=reason,
            undoes=undone.number,
        )
        change = Change(
            bundle,
            repository,
            entry,
            files={
                name: None if sha256 is None else kept.file(name)
                for name, sha256 in kept.files.items()
            },
            versions={network: kept.network(network) for network in kept.networks},
            numbers={network: _next_folder(repository, network) for network in kept.networks},
            is_resealed=False,
        )
        switch(change, load, reached)
        return entry


def _corrections(proposal: Proposal) -> Corrections:
    folder = proposal.evidence.annotations
    if folder is None:
        return Corrections((), 0)
    return corrections_for(folder, proposal.bundle.name)


def _judged(
    proposal: Proposal, trial: Trial, corrections: Corrections, progress: Progress
) -> tuple[list[ComparedSet], Verdict]:
    newest = corrections.held_out[: proposal.terms.newest]
    sets = compare(trial, proposal.evidence, newest, progress)
    return sets, judge(sets, proposal.terms)


def _change(
    proposal: Proposal,
    served: Served,
    trial: Trial,
    sets: Sequence[ComparedSet],
    corrections: Corrections,
    now: datetime,
) -> Change:
    bundle = proposal.bundle
    entries = read_history(bundle)
    before = served.identity
    version = next_version(before.version, entries)
    after = ModelIdentity(before.name, version, trial.candidate.identity.weights_sha256)
    entry = Entry(
        number=next_number(bundle, entries),
        action=Action.PROMOTED,
        at=now,
        by=proposal.by,
        before=before,
        after=after,
        candidate=str(proposal.candidate),
        figures=_figures(sets),
    )
    return Change(
        bundle,
        proposal.repository,
        entry,
        files=_files(proposal, _metadata(bundle, version, _changelog(sets, corrections))),
        versions={network: built.path.parent for network, built in trial.built.items()},
        numbers={network: built.version for network, built in trial.built.items()},
        is_resealed=True,
    )


def _files(proposal: Proposal, metadata: bytes) -> dict[str, bytes | Path | None]:
    """The candidate's own files; what only the current one has goes."""
    files: dict[str, bytes | Path | None] = {METADATA: metadata}
    for name in FILES:
        if name != METADATA:
            path = proposal.candidate / name
            files[name] = path if path.is_file() else None
    return files


def _metadata(bundle: Path, version: str, changelog: str) -> bytes:
    values = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    values["version"] = version
    values["changelog"] = {version: changelog, **values.get("changelog", {})}
    return (json.dumps(values, indent=4, ensure_ascii=False) + "\n").encode()


def _changelog(sets: Sequence[ComparedSet], corrections: Corrections) -> str:
    figures = [
        f"{each.figure} {each.whole.current:.3f} to {each.whole.candidate:.3f} on "
        f"{each.whole.count} cases of {each.name}"
        for each in sets
        if each.whole is not None
    ]
    return f"promoted after {corrections.others} corrections: {', '.join(figures)}"


def _refusal(proposal: Proposal, served: Served, reason: str, now: datetime) -> Entry:
    return Entry(
        number=next_number(proposal.bundle, read_history(proposal.bundle)),
        action=Action.REFUSED,
        at=now,
        by=proposal.by,
        before=served.identity,
        after=None,
        reason=reason,
        candidate=str(proposal.candidate),
    )


def _figures(sets: Sequence[ComparedSet]) -> dict[str, object]:
    return {
        each.name: {"figure": each.figure, **each.whole.as_dict()}
        for each in sets
        if each.whole is not None
    }


def _next_folder(repository: Path, network: str) -> str:
    return str(
        max((int(each.name) for each in version_folders(repository, network)), default=0) + 1
    )


def _within(bundle: Path, page: Path) -> str:
    return str(page.relative_to(bundle)) if page.is_relative_to(bundle) else str(page)


def _write_page(
    proposal: Proposal,
    before: ModelIdentity,
    after: ModelIdentity | None,
    sets: Sequence[ComparedSet],
    verdict: Verdict,
    now: datetime,
) -> Path:
    """The report, and the same as JSON beside it."""
    report = Report(
        before, after, proposal.candidate, proposal.by, proposal.terms, tuple(sets), verdict
    )
    usual = proposal.bundle / _REPORTS / f"{now.strftime('%Y%m%dT%H%M%S%f')}.html"
    page = proposal.page or usual
    write_report(page, report, now)
    text = json.dumps(report.as_dict(now), indent=2, ensure_ascii=False) + "\n"
    write_atomically(page.with_suffix(".json"), [text.encode()])
    return page
