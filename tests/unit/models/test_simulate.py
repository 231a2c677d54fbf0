"""A simulation offers no test case, goes on after a kill, and comes to the same twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import WETREAD
from conftest import ROOT
from decathlon import name_of, write_decathlon
from gateway import eventually
from wetread.bundle_components.acquisition import Random
from wetread.errors import ConfigError, InputError
from wetread.models.simulate import (
    STRATEGIES,
    Plan,
    Round,
    read_round,
    round_path,
    simulate,
)
from wetread.models.simulate_train import Lesson, PreparedCase, School

BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"
LESSON = Lesson(steps=1, batch_size=1, learning_rate=0.01, filters=2, spacing_mm=3.0)
PLAN = Plan(("random", "ensemble"), seeds=1, rounds=2, start=2, per_round=1, candidates=3)
TEST_CASES = {name_of(number) for number in (7, 8)}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": list(range(7)), "val": [7, 8]}
    return write_decathlon(
        tmp_path_factory.mktemp("simulated") / "data", 9, splits, np.s_[4:28, 8:40, 3:27]
    )


def play(data: Path, output: Path, plan: Plan = PLAN, lesson: Lesson = LESSON) -> list[Round]:
    return simulate(BUNDLE, data, output, plan, lesson, lambda *_: None)


@pytest.fixture(scope="module")
def played(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    """The rounds of the plan, and where they are kept; not to be changed."""
    output = tmp_path_factory.mktemp("played")
    return output, play(data, output)


@pytest.fixture
def kept(played: tuple[Path, list[Round]], tmp_path: Path) -> Path:
    """A copy of them."""
    return shutil.copytree(played[0], tmp_path / "kept")


def results(rounds: Sequence[Round]) -> list[Round]:
    """Without the time that they took."""
    return [replace(each, seconds=0.0) for each in rounds]


def test_each_round_adds_what_the_strategy_chose(played: tuple[Path, list[Round]]) -> None:
    _, rounds = played
    facts = [(each.strategy, each.number, len(each.labelled), len(each.chosen)) for each in rounds]
    assert facts == [
        ("random", 0, 2, 1),
        ("random", 1, 3, 0),
        ("ensemble", 0, 2, 1),
        ("ensemble", 1, 3, 0),
    ]
    for first, second in (rounds[:2], rounds[2:]):
        assert second.labelled == (*first.labelled, first.chosen[0].image_id)
        assert "with seed 0" in rounds[0].chosen[0].reason
    assert "the 2 networks" in rounds[2].chosen[0].reason


def test_all_strategies_begin_with_the_same_images_and_the_same_network(
    played: tuple[Path, list[Round]],
) -> None:
    _, rounds = played
    assert rounds[0].labelled == rounds[2].labelled
    assert rounds[0].cases == rounds[2].cases


def test_no_test_case_is_ever_offered_and_all_are_measured(
    played: tuple[Path, list[Round]],
) -> None:
    _, rounds = played
    for each in rounds:
        assert not TEST_CASES & {*each.labelled, *(choice.image_id for choice in each.chosen)}
        assert set(each.cases) == TEST_CASES
        assert each.dice == pytest.approx(sum(each.cases.values()) / 2)


def test_random_choice_is_the_order_of_its_seed(
    data: Path, played: tuple[Path, list[Round]]
) -> None:
    names = dict.fromkeys(map(name_of, range(7)), torch.zeros(1))
    order = tuple(each.image_id for each in Random(0).rank(names, {}))
    assert played[1][1].labelled == order[:3]


def test_what_is_finished_is_not_played_again(data: Path, kept: Path) -> None:
    """A record with another Dice is believed: nothing was trained for it."""
    path = round_path(kept, "random", 0, 1)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "dice": 2.0}), encoding="utf-8")
    assert [each.dice for each in play(data, kept) if each.strategy == "random"][1] == 2.0


def test_an_ended_simulation_comes_to_the_same(
    data: Path, played: tuple[Path, list[Round]], kept: Path
) -> None:
    """Rounds that were lost are played again from what the others chose."""
    for lost in (("random", 0, 1), ("ensemble", 0, 0), ("ensemble", 0, 1)):
        round_path(kept, *lost).unlink()
    assert results(play(data, kept)) == results(played[1])


def test_a_killed_simulation_goes_on(
    data: Path, played: tuple[Path, list[Round]], tmp_path: Path
) -> None:
    """SIGKILL as soon as one round is kept; the command's rounds are the same as the library's."""
    options = "--seeds 1 --rounds 2 --start 2 --per-round 1 --candidates 3 --steps 1"
    lesson = "--batch-size 1 --learning-rate 0.01 --filters 2 --spacing-mm 3"
    strategies = [f"--strategy={name}" for name in PLAN.strategies]
    words = ["label", "simulate", BUNDLE, "--data", data, "--output", tmp_path, *strategies]
    command = [str(WETREAD), *map(str, words), *options.split(), *lesson.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: round_path(tmp_path, "random", 0, 0).is_file(), 60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    first = read_round(round_path(tmp_path, "random", 0, 0))
    rounds = play(data, tmp_path)
    assert rounds[0] == first
    assert results(rounds) == results(played[1])


def test_a_longer_plan_goes_on_where_a_shorter_one_ended(
    data: Path, played: tuple[Path, list[Round]], kept: Path
) -> None:
    """The last round had chosen nothing, so that it chooses now; strategies may be added."""
    longer = play(data, kept, replace(PLAN, strategies=("first", "random"), rounds=3))
    assert [(each.strategy, len(each.labelled)) for each in longer] == [
        *(("first", number) for number in (2, 3, 4)),
        *(("random", number) for number in (2, 3, 4)),
    ]
    assert longer[3] == played[1][0]
    assert longer[4].dice == played[1][1].dice
    assert longer[4].chosen


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in PLAN.strategies])
def test_every_strategy_chooses_from_what_is_left(
    strategy: str, data: Path, tmp_path: Path
) -> None:
    first, second = play(data, tmp_path, replace(PLAN, strategies=(strategy,)))
    assert len(set(second.labelled)) == 3
    assert first.chosen[0].reason


def test_another_seed_begins_with_other_images(data: Path, tmp_path: Path) -> None:
    one = replace(PLAN, strategies=("first",), rounds=1, start=3, seeds=2)
    assert len({each.labelled for each in play(data, tmp_path, one)}) == 2


def test_another_lesson_is_refused_where_rounds_are_kept(data: Path, kept: Path) -> None:
    with pytest.raises(ConfigError, match="another simulation: steps is 1 there, 2 here") as error:
        play(data, kept, lesson=replace(LESSON, steps=2))
    assert "another --output" in error.value.hint


def test_more_annotations_than_cases_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"7 rounds come to 8 annotations, but .* has 7 cases"):
        play(data, tmp_path, replace(PLAN, rounds=7))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "message"), [(("oracle",), "no strategy 'oracle'"), (("first",) * 2, "named twice")]
)
def test_a_strategy_that_is_none_is_named(
    data: Path, tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        play(data, tmp_path, replace(PLAN, strategies=names))
    assert "representative" in error.value.hint


def test_a_round_that_cannot_be_read_is_named(data: Path, kept: Path) -> None:
    round_path(kept, "random", 0, 0).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"round-0\.json is no round of a simulation"):
        play(data, kept)


def school(data: Path, lesson: Lesson = LESSON, bundle: Path = BUNDLE) -> School:
    return School(bundle, data, lesson, lambda *_: None)


def test_images_are_prepared_by_the_bundle_and_made_coarser(data: Path) -> None:
    """24 × 32 × 24 voxels of 1 mm are 9 × 11 × 9 of 3 mm; the bundle's own intensities stay."""
    found = school(data).cases["train"][name_of(0)]
    assert tuple(found.image.shape) == tuple(found.label.shape) == (1, 9, 11, 9)
    assert set(found.label.unique().tolist()) == {0.0, 1.0, 2.0}  # type: ignore[no-untyped-call]
    fine = school(data, replace(LESSON, spacing_mm=None)).cases["train"][name_of(0)]
    assert tuple(fine.image.shape) == (1, 24, 32, 24)
    assert float(fine.image.mean()) == pytest.approx(0, abs=1e-3)
    assert float(fine.image.std()) == pytest.approx(1, abs=1e-2)


def test_a_training_depends_on_its_seed_alone(data: Path) -> None:
    """And torch's own chance goes on as if nothing was drawn."""
    teacher = school(data)
    cases = list(teacher.cases["train"].values())
    drawn = torch.get_rng_state()
    one, again, other = (teacher.train(cases, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_more_steps_teach_more(data: Path) -> None:
    """Of the cases that were learned from."""
    means = []
    for steps in (1, 20):
        teacher = school(data, replace(LESSON, steps=steps, filters=4))
        cases = dict(list(teacher.cases["train"].items())[:2])
        network = teacher.train(list(cases.values()), 1)
        assert not network.training
        means.append(np.mean(list(teacher.dice(network, cases).values())))
    assert means[0] + 0.2 < means[1]


def test_dice_is_that_of_the_true_label(data: Path) -> None:
    """A network that knows the answer has 1; one that swaps both balls 0."""
    teacher = school(data)
    cases = teacher.cases["val"]

    class Told(torch.nn.Module):
        def __init__(self, order: list[int], case: PreparedCase) -> None:
            super().__init__()
            self.order, self.case = order, case

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            padded = torch.zeros_like(image[:, 0]).long()
            # The inferer pads a small image on all sides, evenly.
            places = tuple(
                slice((whole - part) // 2, (whole - part) // 2 + part)
                for whole, part in zip(padded.shape[1:], self.case.label.shape[1:], strict=True)
            )
            padded[0][places] = self.case.label[0].long()
            one_hot = torch.nn.functional.one_hot(padded, 3).movedim(-1, 1)
            return 10.0 * one_hot[:, self.order]

    for order, wanted in (([0, 1, 2], 1.0), ([0, 2, 1], 0.0)):
        for name, case in cases.items():
            assert teacher.dice(Told(order, case), {name: case}) == {name: wanted}


def test_the_bundle_s_own_augmentation_can_be_had(data: Path) -> None:
    """It changes what is learned."""
    cases = [school(data).cases["train"][name_of(0)]]
    light, full = (
        school(data, replace(LESSON, full_augmentation=full)).train(cases, 3).state_dict()
        for full in (False, True)
    )
    assert any(not torch.equal(light[key], full[key]) for key in light)


def test_a_bundle_that_cannot_be_trained_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"brain_mr_extraction has no configs/train\.json"):
        school(data, bundle=ROOT / "bundles" / "brain_mr_extraction")
    with pytest.raises(ConfigError, match=r"chest.*: train\.json has no patch_size"):
        school(data, bundle=ROOT / "bundles" / "chest_xray_classification")
    with pytest.raises(InputError, match=r"dataset\.json"):
        school(tmp_path)


def test_a_fault_of_train_json_is_named(data: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(BUNDLE, tmp_path / "bundle")
    path = bundle / "configs/train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for network in content["network_def"]["networks"]:
        del network["init_filters"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="its network has no init_filters"):
        school(data, bundle=bundle)
    content["deterministic"][0]["_target_"] = "NoSuchTransform"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="NoSuchTransform"):
        school(data, replace(LESSON, filters=None), bundle)


def test_an_image_that_cannot_be_read_is_named(data: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(data, tmp_path / "broken")
    (broken / "imagesTr" / name_of(3)).write_bytes(b"no image")
    with pytest.raises(InputError, match=f"{name_of(3)} cannot be prepared"):
        school(broken)
