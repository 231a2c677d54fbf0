"""Which image to annotate next: the strategies of `bundle_components`, over a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.errors import NotAllowedError
from lib.guard.who import current_user
from lib.infers.bundle import BundleInfer
from lib.people.holds import Holds
from wetread.bundle_components import acquisition
from wetread.bundle_components.uncertainty import Uncertainty

# A reader waits for the answer; of more images, those are looked at that a draw gives.
MOST_CANDIDATES = 40
MOST_LABELLED = 200
_ENSEMBLE, _FLIPS, _DROPOUT = "epistemic_ensemble", "epistemic_flips", "epistemic_dropout"
_WAYS = {
    _ENSEMBLE: acquisition.Ensemble,
    _FLIPS: acquisition.Flips,
    _DROPOUT: acquisition.Dropout,
}
_DESCRIPTIONS = {
    "random": "drawn by chance",
    "first": "in the order of their names",
    _ENSEMBLE: "where the networks of the model differ most",
    _FLIPS: "where the answers to mirrored images differ most",
    _DROPOUT: "where the answers with parts of the network left out differ most",
    "representative": "least like all that are labelled",
    "hybrid": "unsure of it, and unlike what is labelled",
}
NEED_NO_MODEL = ("random", "first")


@dataclass
class _Known:
    """What a version of the weights has found, by image."""

    weights: float = 0.0
    uncertain: dict[str, dict[str, Uncertainty]] = field(default_factory=dict)
    features: dict[str, torch.Tensor] = field(default_factory=dict)


class Choose(Strategy):
    """One strategy; the answer holds `id`, `score` and `reason`.

    It chooses of what the reader took or was assigned, else of what is with nobody else; what it
    offers is with him then.
    """

    def __init__(self, name: str, infers: Mapping[str, BundleInfer], holds: Holds) -> None:
        super().__init__(_DESCRIPTIONS[name])
        self.name = name
        self._infers = infers
        self._holds = holds
        self._known: dict[str, _Known] = {}
        self._asking = threading.Lock()

    def info(self) -> dict[str, Any]:
        """As MONAI Label shows it. A request may set the model that is asked; else the first is."""
        config = {} if self.name in NEED_NO_MODEL else {"model": list(self._infers)}
        return {**super().info(), "config": config}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The next image; None if none is left for him."""
        while left := self._left(datastore):
            drawn = [each.image_id for each in acquisition.Random().rank(_unopened(left), {})]
            candidates = left if self.name == "first" else drawn[:MOST_CANDIDATES]
            with self._asking:
                [choice] = self._chosen(request, datastore, candidates)
            # Another request may have been quicker: then it is among those left no more.
            if self._holds.offer(choice.image_id, current_user()):
                return self._told(choice, len(candidates), len(left), datastore)
        return None

    def _left(self, datastore: Datastore) -> list[str]:
        unlabelled = sorted(datastore.get_unlabeled_images())
        return self._holds.first_for(current_user(), unlabelled, datastore.list_images)

    def _told(
        self, choice: acquisition.Choice, looked_at: int, left: int, datastore: Datastore
    ) -> dict[str, Any]:
        reason = choice.reason
        if looked_at < left:
            reason += f"; {looked_at} of {left} images without a label were looked at"
        found = {"id": choice.image_id, "score": choice.score, "reason": reason}
        datastore.update_image_info(choice.image_id, {"choice": {**found, "by": self.name}})
        return found

    def _chosen(
        self, request: Mapping[str, Any], datastore: Datastore, candidates: Sequence[str]
    ) -> list[acquisition.Choice]:
        if self.name in NEED_NO_MODEL:
            plain = acquisition.First() if self.name == "first" else acquisition.Random()
            return plain.rank(_unopened(candidates), {}, 1)
        task = self._task(request)
        labelled = sorted(datastore.get_labeled_images())[:MOST_LABELLED]
        opened = partial(_prepared, task, datastore)
        try:
            return self._model_strategy(task).rank(
                _lazily(candidates, opened), _lazily(labelled, opened), 1
            )
        except acquisition.AcquisitionError as error:
            raise NotAllowedError(
                f"{self.name} with {task.bundle.name}: {error}", hint="choose another strategy"
            ) from error

    def _task(self, request: Mapping[str, Any]) -> BundleInfer:
        wanted = request.get("model")
        name = wanted[0] if isinstance(wanted, list) and wanted else wanted
        if name and name not in self._infers:
            raise NotAllowedError(
                f"{self.name} cannot ask {name!r}", hint=f"one of {', '.join(self._infers)}"
            )
        if not self._infers:
            raise NotAllowedError(f"{self.name}: no bundle segments", hint="choose random")
        return self._infers[name or next(iter(self._infers))]

    def _model_strategy(self, task: BundleInfer) -> acquisition.Strategy:
        network = task._get_network("cpu", None)
        known = self._of_weights(task)
        inferer = task.inferer({"device": "cpu"})
        if self.name in _WAYS:
            return self._epistemic(self.name, network, inferer, known)
        representative = acquisition.Representative(network, inferer, known=known.features)
        if self.name == "representative":
            return representative
        several = hasattr(network, "networks") and len(network.networks) > 1
        way = _ENSEMBLE if several else _FLIPS
        return acquisition.Hybrid(self._epistemic(way, network, inferer, known), representative)

    def _epistemic(
        self, name: str, network: torch.nn.Module, inferer: Any, known: _Known
    ) -> acquisition.Epistemic:
        found = known.uncertain.setdefault(name, {})
        return acquisition.Epistemic(network, _WAYS[name](), inferer, known=found)

    def _of_weights(self, task: BundleInfer) -> _Known:
        """What was found before, unless the weights have changed since."""
        stamp = task.bundle.weights.stat().st_mtime
        known = self._known.get(task.bundle.name)
        if known is None or known.weights != stamp:
            known = self._known[task.bundle.name] = _Known(stamp)
        return known


def strategies(infers: Mapping[str, Any], holds: Holds) -> dict[str, Choose]:
    """Every strategy, by name, over the tasks that segment."""
    segmenting = {name: each for name, each in infers.items() if isinstance(each, BundleInfer)}
    return {name: Choose(name, segmenting, holds) for name in _DESCRIPTIONS}


def _unopened(images: Sequence[str]) -> dict[str, torch.Tensor]:
    """For those that look at names only."""
    return dict.fromkeys(images, torch.empty(0))


def _lazily(
    images: Sequence[str], opened: Callable[[str], torch.Tensor]
) -> dict[str, Callable[[], torch.Tensor]]:
    return {each: partial(opened, each) for each in images}


def _prepared(task: BundleInfer, datastore: Datastore, image_id: str) -> torch.Tensor:
    """As the network sees it."""
    path = datastore.get_image_uri(image_id)
    data: Any = {"image": path, "image_path": path, "device": "cpu"}
    for transform in task.pre_transforms(data):
        data = transform(data)
    found: torch.Tensor = data[task.key_image]
    return found
