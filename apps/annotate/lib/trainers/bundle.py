"""A bundle as a training task: its own train.json, on what readers have drawn."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monailabel.interfaces.tasks.train import TrainTask

from lib.bundles import Bundle
from lib.errors import AnnotateError, TrainingError
from lib.files import read_json, write_json
from lib.stores.base import Case, CaseStore
from lib.trainers.progress import Score, add_progress, best_score, first_score

log = logging.getLogger(__name__)

EPOCHS = 10
# Of the bundle's own: what is learnt already must not be unlearnt in the first steps.
RATE_SHARE = 0.25
RECORD = "training.json"


class BundleTrain(TrainTask):
    """Goes on from the weights in use, beside them, and replaces them only by better ones.

    Better is a higher score on the held-out images, which are never trained on: by a hash of their
    ids, the same for ever. The working copy of the bundle changes, never what the gateway runs.
    """

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        super().__init__(bundle.description)
        self.bundle = bundle
        self._folder = folder / bundle.name

    def info(self) -> dict[str, Any]:
        """As MONAI Label shows it."""
        return {**super().info(), "version": self.bundle.version}

    def config(self) -> dict[str, Any]:
        """What a request may set. `learning_rate` 0 is a quarter of the bundle's."""
        return {
            "max_epochs": EPOCHS,
            "learning_rate": 0.0,
            "device": "cpu",
            "pretrained": True,
            "leave_out_broken": False,
        }

    def stats(self) -> dict[str, Any]:
        """Of the last training that ended; empty if there was none."""
        return read_json(self._folder / RECORD)

    def __call__(self, request: Mapping[str, Any], datastore: CaseStore) -> dict[str, Any]:
        """Train; returns and keeps what came out.

        Raises TrainingError with the reason, and as the store for a label that cannot be used.
        """
        started = time.monotonic()
        cases = datastore.cases(self.bundle.name)
        self._look_at_broken(cases.broken, leave_out=bool(request.get("leave_out_broken", False)))
        train, held_out = _split(self.bundle.name, cases.usable)
        log.info("training on %d images, %d held out", len(train), len(held_out))
        work = self._fresh_copy()
        parser = self._parsed(work, request, train, held_out)
        before, after = self._run(parser, pretrained=bool(request.get("pretrained", True)))
        kept = after.value > before.value
        if kept:
            (work / "models/model.pt").replace(self.bundle.weights)
        result = {
            "metric": after.name,
            "before": round(before.value, 4),
            "after": round(after.value, 4),
            "new_weights_in_use": kept,
            "trained_on": [each.image_id for each in train],
            "held_out": [each.image_id for each in held_out],
            "left_out": list(cases.broken),
            "seconds": round(time.monotonic() - started, 1),
        }
        write_json(self._folder / RECORD, result)
        shutil.rmtree(work)
        verdict = "better, now in use" if kept else "no better, the former weights stay"
        log.info("%s %.4f, then %.4f: %s", after.name, before.value, after.value, verdict)
        return result

    def _look_at_broken(self, broken: Sequence[str], *, leave_out: bool) -> None:
        for reason in broken:
            log.warning("cannot be trained on: %s", reason)
        if broken and not leave_out:
            raise TrainingError(
                f"{self.bundle.name}: {len(broken)} labels cannot be used; {broken[0]}",
                hint="correct them, or train without them: leave_out_broken true",
            )

    def _fresh_copy(self) -> Path:
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.bundle.folder / "configs", work / "configs")
        (work / "models").mkdir()
        return work

    def _parsed(
        self,
        work: Path,
        request: Mapping[str, Any],
        train: Sequence[Case],
        held_out: Sequence[Case],
    ) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config(str(work / "configs/train.json"))
        parser["bundle_root"] = str(work)
        parser["epochs"] = _whole(request, "max_epochs", EPOCHS, 1, 1000)
        rate = float(request.get("learning_rate") or 0) or parser["learning_rate"] * RATE_SHARE
        parser["learning_rate"] = rate
        parser["device"] = f"$torch.device('{_device(request)}')"
        parser["start_from"] = str(self.bundle.weights) if request.get("pretrained", True) else ""
        # A batch is filled from the cases; a training with fewer would have no step at all.
        parser["batch_size"] = min(int(parser["batch_size"]), len(train))
        parser["train#dataset#data"] = [_files(each) for each in train]
        parser["validate#dataset#data"] = [_files(each) for each in held_out]
        return parser

    def _run(self, parser: ConfigParser, *, pretrained: bool) -> tuple[Score, Score]:
        try:
            parser.get_parsed_content("initialize")
            trainer = parser.get_parsed_content("train#trainer")
            evaluator = parser.get_parsed_content("validate#evaluator")
            add_progress(trainer, evaluator)
            before = first_score(evaluator) if pretrained else Score("", -1.0)
            trainer.run()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{self.bundle.name}: the GPU has too little memory: {error}",
                hint="train on the CPU: device cpu; the labels are kept",
            ) from error
        except AnnotateError:
            raise
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise TrainingError(
                f"{self.bundle.name} cannot be trained: {_deepest(error)}",
                hint="the labels are kept; see the log above",
            ) from error
        return before, best_score(evaluator)


def _split(name: str, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    train = [each for each in cases if not each.is_held_out]
    held_out = [each for each in cases if each.is_held_out]
    if not train or not held_out:
        raise TrainingError(
            f"{name}: {len(train)} labelled images to train on and {len(held_out)} held out",
            hint="label more: about one in five is held out, and both must have one",
        )
    return train, held_out


def _files(case: Case) -> dict[str, str]:
    return {"image": str(case.image), "label": str(case.label)}


def _whole(request: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = request.get(key, default)
    if not isinstance(value, int) or not low <= value <= high:
        raise TrainingError(f"{key} is {value!r}", hint=f"a whole number from {low} to {high}")
    return value


def _device(request: Mapping[str, Any]) -> str:
    wanted = str(request.get("device") or "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        return "cpu"
    return wanted if wanted in ("cpu", "cuda") or wanted.startswith("cuda:") else "cpu"


def _deepest(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
