"""The heat map that goes to the PACS with a classification."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

import highdicom
import numpy as np
import torch

from wetread.explain.cam import gradcam
from wetread.explain.question import ask_classifier
from wetread.explain.settings import Settings
from wetread.infer.bundle import BundleModel
from wetread.infer.description import bundle_version, main_network
from wetread.models.original import is_trained, load_original
from wetread.results import Finding, FindingsResult, HeatMap, ModelIdentity

METHOD = "Grad-CAM"
# Networks of the bundles that are configured; more than a few are not.
_KEPT = 8
_turn = threading.Lock()


def heat_map_of(
    model: BundleModel, volume: highdicom.Volume, result: FindingsResult
) -> HeatMap | None:
    """What in the slice of the result speaks for its likeliest finding, by Grad-CAM, 0 to 1.

    The network in torch gives it, since gradients are not to be had from the exported one. None if
    no finding is present, for a map always has its warmest place, and of what is absent it would
    mislead; none for a bundle without weights of its own, one that does not read slice by slice, or
    one of which another version was promoted meanwhile. Raises as `prepare`.
    """
    number = result.slice_index
    present = [each for each in result.findings if each.is_present]
    if number is None or not is_trained(model.bundle) or not present:
        return None
    finding = max(present, key=lambda each: each.probability)
    try:
        network = _network(model.bundle, model.identity)
    except _ReplacedError:
        return None
    prepared = model.prepare(volume[number : number + 1])
    with _turn:
        question = ask_classifier(
            network,
            torch.as_tensor(prepared)[:, 0][None],
            _class_of(model, finding),
        )
        found = gradcam(question, Settings())
    values = model.restore(found[None], prepared)[0]
    most = float(values.max())
    scaled = np.clip(values / most, 0, 1) if most > 0 else np.zeros_like(values)
    return HeatMap(scaled.astype(np.float32), finding.finding, METHOD)


def _class_of(model: BundleModel, finding: Finding) -> int:
    classes = enumerate(model.description.classes)
    return next(
        number for number, each in classes if each.finding and each.finding == finding.finding
    )


class _ReplacedError(Exception):
    """The bundle has other weights by now than those that read."""


@lru_cache(_KEPT)
def _network(bundle: Path, identity: ModelIdentity) -> torch.nn.Module:
    module = load_original(bundle, main_network(bundle)).module
    # A promotion writes the version before the weights, so one that came between shows here.
    if bundle_version(bundle) != identity.version:
        raise _ReplacedError
    return module
