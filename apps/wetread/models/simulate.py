"""Playing an annotator: which strategy to choose images makes a model good with the fewest labels.

Each simulation of a strategy starts with a few random images and their true labels, trains a
network from nothing, measures its Dice on cases that are never offered, lets the strategy choose
more, and so on. Strategies with the same seed start with the same images and the same network.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wetread.bundle_components.acquisition import (
    AcquisitionError,
    Choice,
    Dropout,
    Ensemble,
    Epistemic,
    First,
    Flips,
    Hybrid,
    Random,
    Representative,
    Strategy,
)
from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.base import Progress
from wetread.models.simulate_train import Lesson, PreparedCase, School

SETTINGS = "simulation.json"
# Told a network with its school and the seed.
_Maker = Callable[[torch.nn.Module, School, int], Strategy]
# Images are small here, so that all passes fit through the network together.
_AT_ONCE = 8


def _hybrid(network: torch.nn.Module, school: School, _seed: int) -> Strategy:
    return Hybrid(
        Epistemic(network, Ensemble(), school.inferer), Representative(network, school.inferer)
    )


STRATEGIES: Mapping[str, _Maker] = {
    "random": lambda _network, _school, seed: Random(seed),
    "first": lambda _network, _school, _seed: First(),
    "dropout": lambda network, school, _seed: Epistemic(
        network, Dropout(at_once=_AT_ONCE), school.inferer
    ),
    "flips": lambda network, school, _seed: Epistemic(
        network, Flips(at_once=_AT_ONCE), school.inferer
    ),
    "ensemble": lambda network, school, _seed: Epistemic(network, Ensemble(), school.inferer),
    "representative": lambda network, school, _seed: Representative(network, school.inferer),
    "hybrid": _hybrid,
}
# These look at no image, so that they may choose among all.
_BLIND = ("random", "first")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated: `seeds` from 0, and `rounds` trainings of each strategy and seed.

    The first round has `start` annotated images, each next one `per_round` more. A strategy that
    looks at images looks at `candidates` in a round, drawn anew from those that are left.
    """

    strategies: tuple[str, ...]
    seeds: int = 5
    rounds: int = 6
    start: int = 4
    per_round: int = 4
    candidates: int = 60


@dataclass(frozen=True, slots=True)
class Round:
    """One training of one strategy and seed, and what was chosen after it.

    `dice` is the mean over the test cases, `seconds` those of training, test and choice. Of the
    last round nothing is chosen.
    """

    strategy: str
    seed: int
    number: int
    labelled: tuple[str, ...]
    dice: float
    cases: Mapping[str, float]
    seconds: float
    chosen: tuple[Choice, ...]


def simulate(
    bundle: Path, data: Path, output: Path, plan: Plan, lesson: Lesson, progress: Progress
) -> list[Round]:
    """Play all of the plan, and return its rounds by strategy, seed and number.

    Every finished round is kept under `output/rounds` and not played again; strategies, seeds and
    rounds may be added later. The test cases are the split "val" of `data`, the others "train".

    Raises ConfigError for a plan that the data are too few for, or if `output` holds rounds of
    another simulation; InputError for data that do not fit the bundle; StorageError.
    """
    _check_strategies(plan.strategies)
    settings = _settings(bundle, data, plan, lesson)
    _check_settings(output, settings)
    school = School(bundle, data, lesson, progress)
    pool = school.cases["train"]
    most = plan.start + (plan.rounds - 1) * plan.per_round
    if most > len(pool):
        raise ConfigError(
            f"{plan.rounds} rounds come to {most} annotations, but {data} has {len(pool)} cases "
            "to annotate",
            hint="fewer --rounds or --per-round",
        )
    write_atomically(output / SETTINGS, [(json.dumps(settings, indent=4) + "\n").encode()])
    return list(_Play(output, plan, school, progress).rounds())


class _Play:
    """The rounds of a plan, seed by seed."""

    def __init__(self, output: Path, plan: Plan, school: School, progress: Progress) -> None:
        self.output, self.plan, self.school, self.progress = output, plan, school, progress
        # The last first network, which all strategies of a seed share.
        self._first: tuple[int, _Trained] | None = None
        self._done = 0

    def rounds(self) -> Iterator[Round]:
        found = [
            each
            for seed in range(self.plan.seeds)
            for strategy in self.plan.strategies
            for each in self._of(strategy, seed)
        ]
        order = {strategy: place for place, strategy in enumerate(self.plan.strategies)}
        yield from sorted(found, key=lambda each: (order[each.strategy], each.seed, each.number))

    def _of(self, strategy: str, seed: int) -> Iterator[Round]:
        names = dict.fromkeys(self.school.cases["train"], torch.empty(0))
        drawn = Random(seed).rank(names, {}, self.plan.start)
        labelled = tuple(each.image_id for each in drawn)
        for number in range(self.plan.rounds):
            self._tell(strategy, seed, len(labelled))
            path = round_path(self.output, strategy, seed, number)
            played = read_round(path)
            # What was the last round of a shorter plan has chosen nothing.
            if played is None or not (played.chosen or self._is_last(number)):
                played = self._play(strategy, seed, number, labelled)
                write_round(path, played)
            yield played
            labelled = (*labelled, *(each.image_id for each in played.chosen))

    def _play(self, strategy: str, seed: int, number: int, labelled: tuple[str, ...]) -> Round:
        trained = self._trained(seed, number, labelled)
        started = time.perf_counter()
        chosen: list[Choice] = []
        if not self._is_last(number):
            chosen = self._choose(trained.network, strategy, seed, number, labelled)
        return Round(
            strategy,
            seed,
            number,
            labelled,
            float(np.mean(list(trained.cases.values()))),
            trained.cases,
            trained.seconds + time.perf_counter() - started,
            tuple(chosen),
        )

    def _trained(self, seed: int, number: int, labelled: Sequence[str]) -> _Trained:
        if number == 0 and self._first is not None and self._first[0] == seed:
            return self._first[1]
        started = time.perf_counter()
        pool = self.school.cases["train"]
        # The same for all strategies, so that only what they chose makes a difference.
        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        network = self.school.train([pool[each] for each in labelled], drawn)
        cases = self.school.dice(network, self.school.cases["val"])
        found = _Trained(network, cases, time.perf_counter() - started)
        if number == 0:
            self._first = seed, found
        return found

    def _choose(
        self,
        network: torch.nn.Module,
        strategy: str,
        seed: int,
        number: int,
        labelled: Sequence[str],
    ) -> list[Choice]:
        pool = self.school.cases["train"]
        left = sorted(set(pool) - set(labelled))
        if strategy not in _BLIND:
            random = np.random.default_rng([seed, number])
            left = [left[each] for each in random.permutation(len(left))[: self.plan.candidates]]
        chosen = STRATEGIES[strategy](network, self.school, seed)
        try:
            return chosen.rank(_images(pool, left), _images(pool, labelled), self.plan.per_round)
        except AcquisitionError as error:
            raise ConfigError(
                f"{self.school.bundle.name}, strategy {strategy}: {error}",
                hint="leave that strategy out",
            ) from error

    def _is_last(self, number: int) -> bool:
        return number == self.plan.rounds - 1

    def _tell(self, strategy: str, seed: int, annotations: int) -> None:
        total = self.plan.seeds * len(self.plan.strategies) * self.plan.rounds
        self.progress(f"{strategy}, seed {seed}, {annotations} annotations", self._done / total)
        self._done += 1


@dataclass(frozen=True, slots=True)
class _Trained:
    network: torch.nn.Module
    cases: Mapping[str, float]
    seconds: float


def _images(pool: Mapping[str, PreparedCase], names: Sequence[str]) -> dict[str, torch.Tensor]:
    return {name: pool[name].image for name in names}


def round_path(output: Path, strategy: str, seed: int, number: int) -> Path:
    """Where a round is kept."""
    return output / "rounds" / strategy / f"seed-{seed}" / f"round-{number}.json"


def write_round(path: Path, played: Round) -> None:
    """Keep it, whole or not at all. Raises StorageError."""
    write_atomically(path, [json.dumps(asdict(played), indent=1).encode()])


def read_round(path: Path) -> Round | None:
    """What was kept, None if nothing was. Raises ConfigError if it cannot be read."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        chosen = tuple(Choice(**each) for each in content.pop("chosen"))
        return Round(**{**content, "labelled": tuple(content["labelled"]), "chosen": chosen})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no round of a simulation: {error}", hint="remove it; it is played again"
        ) from error


def _check_strategies(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or len(set(names)) < len(names):
        what = f"no strategy {unknown[0]!r}" if unknown else "a strategy is named twice"
        raise ConfigError(what, hint=f"allowed, once each: {', '.join(STRATEGIES)}")


def _settings(bundle: Path, data: Path, plan: Plan, lesson: Lesson) -> dict[str, Any]:
    """All that decides what comes of a round, but for its strategy, seed and number."""
    return {
        "bundle": bundle.name,
        "train_json_sha256": _digest(bundle / "configs/train.json"),
        "data": data.resolve().name,
        "dataset_sha256": _digest(data / "dataset.json", data / "splits.json"),
        "start": plan.start,
        "per_round": plan.per_round,
        "candidates": plan.candidates,
        **asdict(lesson),
    }


def _check_settings(output: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse to go on with rounds of another simulation."""
    kept = read_settings(output) if (output / SETTINGS).is_file() else wanted
    for key, value in wanted.items():
        if kept.get(key) != value:
            raise ConfigError(
                f"{output} holds rounds of another simulation: {key} is {kept.get(key)} there, "
                f"{value} here",
                hint="name another --output, or remove that folder",
            )


def read_settings(output: Path) -> dict[str, Any]:
    """What decided the rounds of a simulation. Raises ConfigError."""
    path = output / SETTINGS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="name another --output"
        ) from error


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
