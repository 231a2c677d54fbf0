"""A better candidate takes the place of the current model; any other is refused, and says why."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from labelled import write_labelled
from promotable import (
    NAME,
    NARROW,
    NOW,
    TERMS,
    WIDE,
    WIDER,
    Promotable,
    save_weights,
    write_corrections,
    write_data,
    write_promotable,
)
from tiny_classifier import write_tiny_classifier
from unit.models.test_page import Page
from wetread.bundle_components.classifiers import classifier
from wetread.config import EmbeddedModel
from wetread.corrections.cases import (
    Review,
    read_corrections,
    rewrite_case,
    write_holdout,
)
from wetread.errors import ConfigError, InputError, ModelContractError
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.models import export
from wetread.models.candidate import served_identity
from wetread.models.evidence import Evidence
from wetread.models.export import build_models, check_model
from wetread.models.history import Action, Entry, read_history
from wetread.models.manifest import check_seal
from wetread.models.promote import Outcome, Proposal, promote, roll_back, try_candidate
from wetread.models.record import Figures
from wetread.models.terms import Terms
from wetread.results import ModelIdentity

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    """Version 0.1.0, built; nothing was ever promoted."""
    return write_promotable(tmp_path_factory.mktemp("fresh") / "all")


@pytest.fixture
def here(fresh: Promotable, tmp_path: Path) -> Promotable:
    """A copy that a test may change."""
    return fresh.copied_to(tmp_path / "all")


def go(here: Promotable, candidate: Path, **changes: Any) -> Outcome:
    return promote(here.proposal(candidate, **changes), NOW, no_progress)


def entry_of(outcome: Outcome) -> Entry:
    assert outcome.entry is not None
    return outcome.entry


def metadata(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "configs/metadata.json").read_text())
    return found


def back(here: Promotable) -> Entry:
    return roll_back(here.bundle, here.repository, "ann", "too eager", NOW)


def refused(here: Promotable, candidate: Path, words: str) -> Entry:
    """Nothing has changed but the history, which says why."""
    before = here.files()
    with pytest.raises((ModelContractError, ConfigError), match=words) as caught:
        go(here, candidate)
    assert caught.value.hint
    assert (here.files(), here.versions()) == (before, ["1"])
    [entry] = read_history(here.bundle)
    assert (entry.action, entry.after, entry.reason) == (
        Action.REFUSED,
        None,
        caught.value.message,
    )
    assert here.left_aside() == []
    return entry


# -- promoted -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promoted:
    """The copy in which the candidate was promoted, once for all who only look."""

    here: Promotable
    candidate: Path
    former: ModelIdentity
    outcome: Outcome

    @property
    def entry(self) -> Entry:
        return entry_of(self.outcome)


@pytest.fixture(scope="module")
def promoted(fresh: Promotable, tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    folder = tmp_path_factory.mktemp("promoted")
    here = fresh.copied_to(folder / "all")
    former, candidate = served_identity(here.bundle, here.repository), here.candidate(*WIDE)
    outcome = go(here, candidate, page=folder / "out/report.html")
    return Promoted(here, candidate, former, outcome)


@pytest.fixture
def after(promoted: Promoted, tmp_path: Path) -> Promotable:
    """A copy of it that a test may change."""
    return promoted.here.copied_to(tmp_path / "promoted")


def test_a_better_candidate_is_what_is_served(promoted: Promoted) -> None:
    here, former = promoted.here, promoted.former
    found = served_identity(here.bundle, here.repository)
    assert (former.version, found.version) == ("0.1.0", "0.1.1")
    assert (promoted.entry.before, promoted.entry.after) == (former, found)
    assert here.versions() == ["1", "2"]
    weights = (promoted.candidate / "models/model.pt").read_bytes()
    assert (here.bundle / "models/model.pt").read_bytes() == weights
    config = EmbeddedModel(bundle=here.bundle)
    with closing(open_model(NAME, config, here.repository)) as model:
        assert model.identity == found
    assert here.left_aside() == []


def test_the_bundle_is_whole_and_built_after_a_promotion(after: Promotable) -> None:
    check_seal(after.bundle)
    check_model(after.bundle, after.repository)
    build_models(after.bundle, after.repository, no_progress)
    assert after.versions() == ["1", "2"]


def test_the_changelog_names_corrections_and_figures(here: Promotable, tmp_path: Path) -> None:
    folder = write_corrections(tmp_path / "annotations", [{}] * 7, held_out=4)
    evidence = Evidence(here.data, annotations=folder)
    go(here, here.candidate(*WIDE), evidence=evidence)
    found = metadata(here.bundle)
    assert found["version"] == "0.1.1"
    assert list(found["changelog"]) == ["0.1.1", "0.1.0"]
    assert found["changelog"]["0.1.1"] == (
        "promoted after 3 corrections: Dice 0.667 to 1.000 on 6 cases of data, split all, "
        "Dice 0.667 to 1.000 on 4 cases of recent corrections"
    )


def test_the_history_has_who_when_what_and_the_figures(promoted: Promoted) -> None:
    [entry] = read_history(promoted.here.bundle)
    assert entry == promoted.entry
    assert (entry.number, entry.action, entry.at, entry.by) == (
        1,
        Action.PROMOTED,
        NOW,
        "the tests",
    )
    [figures] = entry.figures.values()
    assert figures["candidate"] == 1.0


def test_the_report_shows_the_verdict_and_every_case(promoted: Promoted) -> None:
    page = promoted.outcome.page
    assert str(page) == promoted.entry.report
    shown = Page(page.read_text(encoding="utf-8"))
    assert shown.open == []
    assert shown.heads_without_scope == 0
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", shown.text)
    assert {"Promote", "becomes", f"{NAME} 0.1.1", "sex F", "held"} <= set(shown.words)
    assert [shown.words.count(f"case_{number:02}.nii.gz") for number in range(6)] == [1] * 6
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert values["is_promotion"] is True
    assert values["current"]["version"] == "0.1.0"
    assert [each["candidate"] for each in values["sets"][0]["cases"]] == [1.0] * 6


# -- refused --------------------------------------------------------------------------------------


def test_a_worse_candidate_is_refused_with_the_figures(here: Promotable) -> None:
    """It finds nothing at all."""
    before = here.files()
    outcome = go(here, here.candidate(900.0, 901.0))
    assert not outcome.verdict.is_promotion
    assert outcome.verdict.reasons[0].startswith("Dice 0.667 → 0.000, difference −0.6667 [−0.6667")
    assert (here.files(), here.versions()) == (before, ["1"])
    [entry] = read_history(here.bundle)
    assert (entry.action, entry.after) == (Action.REFUSED, None)
    assert "its lower bound must be above −0.005" in entry.reason
    assert next(iter(entry.figures.values()))["candidate"] == 0.0
    shown = Page((here.bundle / entry.report).read_text(encoding="utf-8"))
    assert "Refused" in shown.words
    assert here.left_aside() == []


def test_a_candidate_that_is_worse_on_a_subgroup_is_refused(
    here: Promotable, tmp_path: Path
) -> None:
    """Better by 0.33 in ten of twelve, worse by as much in both of one scanner."""
    scanners = ["B" if number in (3, 8) else "A" for number in range(12)]
    data = write_data(tmp_path / "mixed", 12, [each == "A" for each in scanners])
    rows = [f"case_{number:02}.nii.gz,{each}" for number, each in enumerate(scanners)]
    (data / "cases.csv").write_text("\n".join(["file,scanner", *rows]), encoding="utf-8")
    proposal = here.proposal(here.candidate(*WIDE), evidence=Evidence(data))
    outcome = promote(proposal, NOW, no_progress)
    [reason] = outcome.verdict.reasons
    assert reason == (
        "scanner B: Dice 1.000 → 0.667, difference −0.3333 [−0.3333 to −0.3333], 2 cases of mixed, "
        "split all; worse by more than 0.005"
    )
    assert here.versions() == ["1"]
    larger = replace(proposal, terms=replace(TERMS, least_group=3))
    assert promote(larger, NOW, no_progress).verdict.is_promotion


def test_a_subgroup_of_the_corrections_counts_too(here: Promotable, tmp_path: Path) -> None:
    folder = write_corrections(tmp_path / "narrow", [{"age": "60-69"}] * 2, 2, both=False)
    write_holdout(folder, NAME, {"c0", "c1"})
    facts = [{"age": "60-69"}] * 2 + [{"age": "20-29"}] * 12
    write_corrections(tmp_path / "wide", facts, 14)
    for each in read_corrections(tmp_path / "narrow", NAME):
        target = tmp_path / "wide" / NAME / "cases" / each.case_id / "label.nii.gz"
        target.write_bytes(each.label.read_bytes())
    evidence = Evidence(annotations=tmp_path / "wide")
    outcome = go(here, here.candidate(*WIDE), evidence=evidence)
    [reason] = outcome.verdict.reasons
    assert reason.startswith("age 60-69: Dice 1.000 → 0.667")


def test_too_few_cases_are_a_refusal(here: Promotable) -> None:
    outcome = go(here, here.candidate(*WIDE), terms=Terms())
    assert outcome.verdict.reasons[0].startswith("too few cases to judge by: 6 of data")
    assert here.versions() == ["1"]


def test_the_weights_of_the_current_model_are_refused(here: Promotable) -> None:
    refused(here, here.candidate(*NARROW), f"has the weights of {NAME} 0.1.0")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(here: Promotable, value: float) -> None:
    refused(here, here.candidate(100.0, value), "1 of 1 values of high are NaN or infinite")


def relabel(configs: dict[str, Any]) -> None:
    configs["segments"][0]["label"] = "Lesion"


def reprocess(configs: dict[str, Any]) -> None:
    configs["preprocessing"]["transforms"].append({"_target_": "ScaleIntensityd", "keys": "image"})


def reshape(configs: dict[str, Any]) -> None:
    configs["networks"][NAME]["output"]["shape"][1] = 3


@pytest.mark.parametrize(
    ("file", "change", "place"),
    [
        ("dicom.json", relabel, r"segments\[0\]\.label"),
        ("inference.json", reprocess, r"preprocessing\.transforms"),
        ("export.json", reshape, rf"networks\.{NAME}\.output\.shape\[1\]"),
    ],
)
def test_another_configuration_is_refused_with_the_place(
    here: Promotable, file: str, change: Callable[[dict[str, Any]], None], place: str
) -> None:
    candidate = here.candidate(*WIDE)
    path = candidate / "configs" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    refused(here, candidate, rf"configs/{file} differs from that of {NAME}: {place}$")


@pytest.mark.parametrize("name", ["models/model.pt", "models/gate.json"])
def test_a_candidate_that_lacks_a_file_is_refused(here: Promotable, name: str) -> None:
    candidate = here.candidate(*WIDE)
    if name == "models/gate.json":
        (here.bundle / name).write_text("{}")
        (here.bundle / "SHA256SUMS").unlink()
    else:
        (candidate / name).unlink()
    refused(here, candidate, f"the candidate has no {name}, which {NAME} has")


def test_what_the_export_gate_refuses_is_not_promoted(
    here: Promotable, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = here.candidate(*WIDE)
    monkeypatch.setattr(export, "compare_onnx", lambda *_: Figures(0.5, 0.5, 0.7))
    refused(here, candidate, f"network {NAME} as ONNX is not what it is in torch")


def test_weights_that_cannot_be_read_are_said(here: Promotable) -> None:
    candidate = here.candidate(*WIDE)
    (candidate / "models/model.pt").write_bytes(b"none")
    refused(here, candidate, "these are no weights of network_def")


def test_what_is_not_served_cannot_be_compared_with(here: Promotable) -> None:
    candidate = here.candidate(*WIDE)
    save_weights(here.bundle, 50.0, 60.0)
    (here.bundle / "SHA256SUMS").unlink()
    with pytest.raises(ConfigError, match="is not what the bundle holds") as caught:
        go(here, candidate)
    assert f"wetread models build {NAME}" in caught.value.hint


def test_a_bundle_that_is_not_as_it_was_sealed_is_left_alone(here: Promotable) -> None:
    candidate = here.candidate(*WIDE)
    (here.bundle / "note.txt").write_text("who put this here?")
    with pytest.raises(ConfigError, match=r"note\.txt is not in SHA256SUMS"):
        go(here, candidate)


def test_there_must_be_something_to_compare_on(here: Promotable) -> None:
    with pytest.raises(ConfigError, match="there is nothing to compare on"):
        go(here, here.candidate(*WIDE), evidence=Evidence())


# -- a trial --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bounds", "is_promotion"), [(WIDE, True), ((900.0, 901.0), False)])
def test_a_trial_says_the_verdict_and_changes_nothing(
    here: Promotable, bounds: tuple[float, float], is_promotion: bool
) -> None:
    before = here.files()
    outcome = try_candidate(here.proposal(here.candidate(*bounds)), NOW, no_progress)
    assert outcome.verdict.is_promotion == is_promotion
    assert outcome.entry is None
    assert outcome.page.is_file()
    assert (here.files(), here.versions(), here.left_aside()) == (before, ["1"], [])
    assert read_history(here.bundle) == ()


# -- corrections ----------------------------------------------------------------------------------


def test_only_the_newest_held_out_corrections_are_read(here: Promotable, tmp_path: Path) -> None:
    folder = write_corrections(tmp_path / "annotations", [{}] * 8, held_out=6)
    proposal = here.proposal(
        here.candidate(*WIDE),
        evidence=Evidence(annotations=folder),
        terms=replace(TERMS, newest=4),
    )
    [found] = try_candidate(proposal, NOW, no_progress).sets
    assert [each.case for each in found.cases] == ["c5", "c4", "c3", "c2"]


def test_a_models_own_proposal_is_no_reference(here: Promotable, tmp_path: Path) -> None:
    folder = write_corrections(tmp_path / "annotations", [{}] * 6, held_out=5)
    for each in read_corrections(folder, NAME):
        if each.case_id in ("c1", "c5"):
            rewrite_case(replace(each, review=Review.PROPOSED))
    evidence = Evidence(here.data, annotations=folder)
    outcome = go(here, here.candidate(*WIDE), evidence=evidence)
    assert sorted(each.case for each in outcome.sets[1].cases) == ["c0", "c2", "c3", "c4"]
    assert "promoted after 0 corrections" in metadata(here.bundle)["changelog"]["0.1.1"]


def test_a_study_on_both_sides_of_the_holdout_is_refused(here: Promotable, tmp_path: Path) -> None:
    folder = write_corrections(tmp_path / "annotations", [{}] * 5, held_out=4)
    last = read_corrections(folder, NAME)[-1]
    rewrite_case(replace(last, study_instance_uid="1.2.0"))
    with pytest.raises(InputError, match="c0 is held out, c4 of the same study is not"):
        go(here, here.candidate(*WIDE), evidence=Evidence(annotations=folder))


def test_a_holdout_that_names_what_is_not_there_is_refused(
    here: Promotable, tmp_path: Path
) -> None:
    folder = write_corrections(tmp_path / "annotations", [{}] * 2, held_out=0)
    write_holdout(folder, NAME, {"gone"})
    with pytest.raises(InputError, match=r"holdout\.json names gone, which is not there"):
        go(here, here.candidate(*WIDE), evidence=Evidence(annotations=folder))


# -- back -----------------------------------------------------------------------------------------


def test_a_rollback_restores_the_bundle_bit_for_bit(
    fresh: Promotable, promoted: Promoted, after: Promotable
) -> None:
    entry = back(after)
    assert after.files() == fresh.files()
    assert served_identity(after.bundle, after.repository) == promoted.former
    assert (entry.action, entry.before, entry.after) == (
        Action.ROLLED_BACK,
        promoted.entry.after,
        promoted.former,
    )
    assert (entry.undoes, entry.reason, entry.by) == (1, "too eager", "ann")
    assert read_history(after.bundle) == (promoted.entry, entry)
    check_seal(after.bundle)
    check_model(after.bundle, after.repository)
    assert after.left_aside() == []


def test_a_version_number_of_a_network_never_has_two_contents(after: Promotable) -> None:
    """Triton and its clients keep what they know of a version."""
    second = (after.repository / NAME / "2/model.onnx").read_bytes()
    back(after)
    assert after.versions() == ["2", "3"]
    assert (after.repository / NAME / "2/model.onnx").read_bytes() == second
    go(after, after.candidate(*WIDER, "second"))
    assert after.versions() == ["3", "4"]
    assert metadata(after.bundle)["version"] == "0.1.2"


def test_two_rollbacks_undo_two_promotions(fresh: Promotable, after: Promotable) -> None:
    between = after.files()
    go(after, after.candidate(*WIDER, "second"))
    assert (metadata(after.bundle)["version"], after.versions()) == ("0.1.2", ["2", "3"])
    assert back(after).undoes == 2
    assert after.files() == between
    assert back(after).undoes == 1
    assert after.files() == fresh.files()
    with pytest.raises(ConfigError, match=f"{NAME} has no promotion to undo"):
        back(after)


def test_a_file_that_only_the_promoted_version_had_goes(here: Promotable) -> None:
    candidate = here.candidate(*WIDE)
    (candidate / "models/training.json").write_text("{}")
    go(here, candidate)
    assert (here.bundle / "models/training.json").is_file()
    back(here)
    assert not (here.bundle / "models/training.json").exists()


@pytest.mark.parametrize("name", ["models/model.pt", f"networks/{NAME}/model.onnx", "state.json"])
def test_a_former_state_that_is_not_whole_is_not_restored(after: Promotable, name: str) -> None:
    promoted = after.files()
    (after.bundle / ".promotions/1/before" / name).write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"is not as it was kept|has no state"):
        back(after)
    assert after.files() == promoted


def test_a_candidate_is_still_sound_torch(here: Promotable) -> None:
    """What the tests promote is what a training would leave."""
    state = torch.load(here.candidate(*WIDE) / "models/model.pt", weights_only=True)
    assert {key: float(value) for key, value in state.items()} == {"low": 20.0, "high": 140.0}


# -- classifiers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classifier:
    """A classifier with random weights, built, and pictures to judge it by."""

    bundle: Path
    repository: Path
    data: Path

    def proposal(self, candidate: Path, **changes: Any) -> Proposal:
        """By terms that every candidate meets."""
        values: dict[str, Any] = {
            "evidence": Evidence(self.data),
            "terms": Terms(margin=-1.5, least_cases=4, least_group=2),
            "by": "ann",
            **changes,
        }
        return Proposal(self.bundle, candidate, self.repository, **values)

    def candidate(self) -> Path:
        folder = self.bundle.parent / "candidate"
        shutil.copytree(self.bundle, folder)
        randomise(folder, 2, 0.7)
        return folder

    def identity(self) -> ModelIdentity:
        return served_identity(self.bundle, self.repository)


def randomise(bundle: Path, seed: int, present: float) -> None:
    torch.manual_seed(seed)
    torch.save(classifier("small_cnn", 2, 64).state_dict(), bundle / "models/model.pt")
    points = {"above": 1 - present, "below": present}
    values = {"temperature": 1.0, "operating_points": points}
    (bundle / "models/calibration.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture
def classifying(tmp_path: Path) -> Classifier:
    bundle = write_tiny_classifier(tmp_path / "model").bundle
    randomise(bundle, 1, 0.6)
    repository = tmp_path / "triton_models"
    build_models(bundle, repository, no_progress)
    data = write_labelled(tmp_path / "data", ("above", "below"), train=1, val=3)
    return Classifier(bundle, repository, data)


def test_a_classifier_is_promoted_by_its_auc_with_its_calibration(classifying: Classifier) -> None:
    calibration = classifying.bundle / "models/calibration.json"
    before, former = calibration.read_bytes(), classifying.identity()
    candidate = classifying.candidate()
    outcome = promote(classifying.proposal(candidate), NOW, no_progress)
    [found] = outcome.sets
    assert (found.figure, len(found.cases)) == ("AUC", 6)
    assert calibration.read_bytes() == (candidate / "models/calibration.json").read_bytes()
    assert classifying.identity() == entry_of(outcome).after
    roll_back(classifying.bundle, classifying.repository, "ann", "", NOW)
    assert calibration.read_bytes() == before
    assert classifying.identity() == former


def test_a_classifier_without_its_calibration_is_refused(classifying: Classifier) -> None:
    candidate = classifying.candidate()
    (candidate / "models/calibration.json").unlink()
    with pytest.raises(ModelContractError, match=r"has no models/calibration\.json"):
        promote(classifying.proposal(candidate), NOW, no_progress)


def test_corrections_do_not_judge_a_classifier(classifying: Classifier, tmp_path: Path) -> None:
    evidence = Evidence(classifying.data, annotations=tmp_path)
    proposal = classifying.proposal(classifying.candidate(), evidence=evidence)
    with pytest.raises(ConfigError, match="tiny_classifier classifies, and corrections are masks"):
        promote(proposal, NOW, no_progress)
