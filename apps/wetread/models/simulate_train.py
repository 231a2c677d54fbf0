"""Many small trainings by one bundle's `train.json`; images are prepared once."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, Cropd, Padd, RandFlipd, Spacingd

from wetread.bundle_components.transforms import plain
from wetread.bundle_components.uncertainty import Inferer, mean_dice, probabilities
from wetread.errors import ConfigError, InputError
from wetread.infer.base import Progress
from wetread.infer.bundle import causes_of
from wetread.models.segmentation import cases_in

_KEYS = ("image", "label")
# What moves voxels and changes none: the rest asks for more steps than a simulation has.
_LIGHT = (Padd, Cropd, RandFlipd)


@dataclass(frozen=True, slots=True)
class Lesson:
    """How each network of a simulation is trained; None is as `train.json` has it.

    `steps` of the optimizer whatever the number of annotations, so that a curve shows what they
    add and nothing else. `filters` replaces every `init_filters` of the network. `spacing_mm` is
    what images and labels are resampled to after the bundle's own preprocessing; patches shrink
    with it. Of the bundle's augmentation only padding, cropping and mirror images are kept,
    unless `full_augmentation`.
    """

    steps: int
    batch_size: int | None = None
    learning_rate: float | None = None
    filters: int | None = None
    spacing_mm: float | None = None
    full_augmentation: bool = False


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """Image and label after the preprocessing, (channel, x, y, z) each."""

    image: torch.Tensor
    label: torch.Tensor


class School:
    """Trains and examines the networks of one bundle.

    Raises ConfigError for a bundle without what it takes, InputError for data that do not fit it.
    """

    def __init__(self, bundle: Path, data: Path, lesson: Lesson, progress: Progress) -> None:
        self.bundle, self.lesson = bundle, lesson
        self._config = _read(bundle, lesson)
        self._config["dataset_dir"], self._config["bundle_root"] = str(data), str(bundle)
        with self._told():
            transforms = self._parser().get_parsed_content("deterministic")
        if lesson.spacing_mm is not None:
            spacing = [lesson.spacing_mm] * len(self._config["patch_size"])
            transforms = [*transforms, Spacingd(_KEYS, spacing, mode=("bilinear", "nearest"))]
        listed = {split: cases_in(data, split) for split in ("train", "val")}
        self.cases = _prepared(Compose(transforms), listed, progress)
        self._config["patch_size"] = self._config["roi_size"] = self._patch(listed)
        with self._told():
            parser = self._parser()
            self.device: torch.device = parser.get_parsed_content("device")
            self.inferer: Inferer = parser.get_parsed_content("validate#inferer")

    def train(self, cases: Sequence[PreparedCase], seed: int) -> torch.nn.Module:
        """A new network that has learned from these cases, in evaluation. The seed decides all."""
        with self._told(), _seeded(seed, self.device):
            parser = self._parser()
            network, optimizer, schedule, loss, augmentation = (
                parser.get_parsed_content(key)
                for key in ("network", "optimizer", "lr_scheduler", "loss", "augmentation")
            )
            # About a quarter faster on the CPU.
            network.to(memory_format=_MEMORY[len(self._config["patch_size"])])
            if not self.lesson.full_augmentation:
                augmentation = [each for each in augmentation if isinstance(each, _LIGHT)]
            augment = Compose(augmentation).set_random_state(seed)
            network.train()
            for numbers in _batches(len(cases), self.lesson.steps, self._batch_size, seed):
                image, label = self._batch(augment, [cases[number] for number in numbers])
                optimizer.zero_grad()
                loss(network(image), label).backward()
                optimizer.step()
                schedule.step()
        trained: torch.nn.Module = network.eval()
        return trained

    def dice(self, network: torch.nn.Module, cases: Mapping[str, PreparedCase]) -> dict[str, float]:
        """The mean Dice over the labels of each case, on the grid that it was prepared to."""
        found = {}
        with torch.no_grad():
            for name, case in cases.items():
                answer = probabilities(self.inferer(case.image[None].to(self.device), network))
                labels = answer[0].argmax(0).cpu()
                found[name] = mean_dice(labels, case.label[0], answer.shape[1])
        return found

    @property
    def _batch_size(self) -> int:
        return self.lesson.batch_size or int(self._config["batch_size"])

    def _batch(self, augment: Compose, cases: Sequence[PreparedCase]) -> Iterator[torch.Tensor]:
        changed = [augment({"image": case.image, "label": case.label}) for case in cases]
        for key in _KEYS:
            yield plain(torch.stack([each[key] for each in changed])).to(self.device)

    def _patch(self, listed: Mapping[str, Sequence[Mapping[str, str]]]) -> list[int]:
        """The bundle's own, as coarse as the images are now: what divides its sizes still does."""
        sizes = [int(each) for each in self._config["patch_size"]]
        if self.lesson.spacing_mm is None:
            return sizes
        with self._told():
            first = Compose(self._parser().get_parsed_content("deterministic"))(listed["train"][0])
        step = math.gcd(*sizes)
        shares = [float(each) / self.lesson.spacing_mm for each in first["image"].pixdim]
        return [
            math.ceil(size * share / step) * step for size, share in zip(sizes, shares, strict=True)
        ]

    def _parser(self) -> ConfigParser:
        return ConfigParser(copy.deepcopy(self._config))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
            what = " ".join(str(causes_of(error)[-1]).split())
            raise ConfigError(
                f"{self.bundle.name} cannot be trained in a simulation: {what}",
                hint="bundles/README.md says what a train.json holds",
            ) from error


_MEMORY = {2: torch.channels_last, 3: torch.channels_last_3d}


def _read(bundle: Path, lesson: Lesson) -> dict[str, Any]:
    path = bundle / "configs/train.json"
    if not path.is_file():
        raise ConfigError(f"{bundle.name} has no configs/train.json", hint="it cannot be trained")
    config = ConfigParser.load_config_file(str(path))
    absent = [key for key in ("deterministic", "augmentation", "patch_size") if key not in config]
    if absent:
        raise ConfigError(
            f"{bundle.name}: train.json has no {absent[0]}",
            hint="a simulation needs a bundle that segments, such as hippocampus_mr_segmentation",
        )
    # One step of the schedule for each of the optimizer.
    config["epochs"] = lesson.steps
    if lesson.learning_rate is not None:
        config["learning_rate"] = lesson.learning_rate
    if lesson.filters is not None and not _set_filters(config["network_def"], lesson.filters):
        raise ConfigError(
            f"{bundle.name}: its network has no init_filters", hint="leave out --filters"
        )
    return dict(config)


def _set_filters(definition: Any, filters: int) -> int:
    """Replace every `init_filters`; how many there were."""
    if isinstance(definition, list):
        return sum(_set_filters(each, filters) for each in definition)
    if not isinstance(definition, dict):
        return 0
    own = "init_filters" in definition
    if own:
        definition["init_filters"] = filters
    return own + sum(_set_filters(each, filters) for each in definition.values())


def _prepared(
    transform: Compose, listed: Mapping[str, Sequence[Mapping[str, str]]], progress: Progress
) -> dict[str, dict[str, PreparedCase]]:
    """The cases of each split by the names of their images."""
    found: dict[str, dict[str, PreparedCase]] = {split: {} for split in listed}
    total = sum(len(cases) for cases in listed.values())
    for split, cases in listed.items():
        for case in cases:
            progress("prepare", sum(map(len, found.values())) / total)
            try:
                prepared = transform(dict(case))
            except (RuntimeError, ValueError, OSError) as error:
                raise InputError(
                    f"{case['image']} cannot be prepared: {causes_of(error)[-1]}",
                    hint="image and label must be readable, on one grid",
                ) from error
            image, label = (plain(prepared[key]) for key in _KEYS)
            found[split][Path(case["image"]).name] = PreparedCase(image, label)
    return found


def _batches(count: int, steps: int, size: int, seed: int) -> Iterator[list[int]]:
    """Numbers of cases for each step: all of them in a new order, again and again."""
    random = np.random.default_rng(seed)
    rounds = math.ceil(steps * size / count)
    order = np.concatenate([random.permutation(count) for _ in range(rounds)])
    for step in range(steps):
        yield order[step * size : (step + 1) * size].tolist()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """With torch's random numbers from `seed`; afterwards they go on as if nothing was drawn."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
