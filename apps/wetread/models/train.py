"""Training a bundle by its own `configs/train.json`, with what every training wants around it."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.bundle import ConfigParser
from monai.handlers import (
    CheckpointLoader,
    CheckpointSaver,
    TensorBoardStatsHandler,
    stopping_fn_from_metric,
)

from wetread.errors import ConfigError, InputError
from wetread.files import write_atomically
from wetread.infer.bundle import causes_of
from wetread.models.manifest import renew_seal
from wetread.models.tensorboard import add_pictures
from wetread.models.training_record import (
    TrainingRecord,
    read_training_record,
    write_training_record,
)

# Told the epoch (from 1), the share of it that is done, and the best validation score so far.
EpochProgress = Callable[[int, float, float | None], None]
_CHECKPOINT = re.compile(r"checkpoint_epoch=(\d+)\.pt")


@dataclass(frozen=True, slots=True)
class Training:
    """What came of a training. `best_score` is the bundle's key metric on its validation cases."""

    weights: Path
    epochs: int
    best_epoch: int
    best_score: float
    metric: str


def train_bundle(
    bundle: Path,
    data: Path,
    output: Path,
    progress: EpochProgress,
    *,
    epochs: int | None = None,
    fresh: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Training:
    """Train until `epochs` are done, or until the score has not grown for the bundle's `patience`.

    `output` gets `model.pt` (the weights of the best epoch), one checkpoint (the last epoch, with
    optimizer and schedule), TensorBoard's files under `runs/`, and `training.json`, which says what
    it took. A training that was cut short goes on from its checkpoint, unless `fresh`. `overrides`
    replace values of train.json, by their ids.

    Raises ConfigError for a bundle that cannot be trained, InputError for data that do not fit it.
    """
    parser = _parsed(bundle, data, output, {"epochs": epochs, **(overrides or {})})
    try:
        parser.get_parsed_content("initialize")
        trainer = parser.get_parsed_content("train#trainer")
        evaluator = parser.get_parsed_content("validate#evaluator")
        state = {
            key: parser.get_parsed_content(key) for key in ("network", "optimizer", "lr_scheduler")
        }
    except (RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        raise _not_trainable(bundle, data, error) from error
    output.mkdir(parents=True, exist_ok=True)
    earlier = None if fresh else _earlier(output)
    _add_checkpoints(trainer, state, output, fresh=fresh)
    if earlier:
        _keep_better(evaluator, earlier, output / "model.pt")
    patience = int(parser.get("patience", 0))
    _add_handlers(trainer, evaluator, output, patience)
    add_pictures(trainer, evaluator, state["network"], output / "runs")
    _add_progress(trainer, evaluator, progress)
    keep_record = _add_record(trainer, evaluator, state["network"], output, earlier)
    _log_to_stderr()
    trainer.run()
    # Some bundles calibrate when training ends; that belongs to it.
    record = keep_record()
    if output.resolve() == (bundle / "models").resolve():
        renew_seal(bundle)
    return Training(
        weights=output / "model.pt",
        epochs=record.epochs,
        best_epoch=record.best_epoch or 0,
        best_score=record.best_score or 0.0,
        metric=record.metric,
    )


def read_train_config(bundle: Path) -> dict[str, Any]:
    """Its train.json as it stands. Raises ConfigError if it has none."""
    path = bundle / "configs/train.json"
    if not path.is_file():
        raise ConfigError(f"{bundle.name} has no configs/train.json", hint="it cannot be trained")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _parsed(bundle: Path, data: Path, output: Path, overrides: Mapping[str, Any]) -> ConfigParser:
    parser = ConfigParser(read_train_config(bundle))
    parser["bundle_root"] = str(bundle)
    parser["dataset_dir"] = str(data)
    parser["ckpt_dir"] = str(output)
    for place, value in overrides.items():
        if value is not None:
            parser[place] = value
    return parser


def _not_trainable(bundle: Path, data: Path, error: BaseException) -> Exception:
    causes = causes_of(error)
    what = " ".join(str(causes[-1]).split())
    if any(isinstance(cause, ImportError) for cause in causes):
        return ConfigError(f"{bundle.name}: {what}", hint="pip install 'wetread[train]'")
    return InputError(
        f"{bundle.name} cannot be trained on {data}: {what}",
        hint="bundles/README.md says what the folder must hold",
    )


def _add_checkpoints(trainer: Engine, state: dict[str, Any], output: Path, *, fresh: bool) -> None:
    everything = {**state, "trainer": trainer}
    found = _checkpoints(output)
    if found and fresh:
        _remove(found)
    elif found:
        CheckpointLoader(str(found[-1]), everything).attach(trainer)
    saver = CheckpointSaver(str(output), everything, save_interval=1, epoch_level=True)
    saver.attach(trainer)
    # Only once the new one is whole: a training that is killed meanwhile goes on from the last.
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: _remove(_checkpoints(output)[:-1]))


def _checkpoints(output: Path) -> list[Path]:
    """Those that are there, by epoch."""
    epochs = {
        path: int(match[1])
        for path in output.glob("checkpoint_epoch=*.pt")
        if (match := _CHECKPOINT.fullmatch(path.name))
    }
    return sorted(epochs, key=lambda path: epochs[path])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def _add_handlers(trainer: Engine, evaluator: Engine, output: Path, patience: int) -> None:
    if patience:
        score = stopping_fn_from_metric(str(_of(evaluator, "key_metric_name")))
        stop = EarlyStopping(patience, score, trainer)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, stop)
    runs = str(output / "runs")
    loss_only: dict[str, Any] = {"tag_name": "train_loss", "output_transform": _loss_of}
    TensorBoardStatsHandler(log_dir=runs, **loss_only).attach(trainer)
    TensorBoardStatsHandler(
        log_dir=runs,
        iteration_log=False,
        global_epoch_transform=lambda _epoch: trainer.state.epoch,
    ).attach(evaluator)


def _earlier(output: Path) -> TrainingRecord | None:
    """The record of the trainings whose checkpoint this one goes on from."""
    return read_training_record(output) if _checkpoints(output) else None


def _keep_better(evaluator: Engine, earlier: TrainingRecord, weights: Path) -> None:
    """Put the weights of an earlier, better epoch back when a worse one has replaced them.

    MONAI's saver knows only the scores of its own run.
    """
    kept = weights.read_bytes() if weights.is_file() else None

    def restore() -> None:
        epoch, score = _best(evaluator, earlier)
        if kept is not None and (epoch, score) == (earlier.best_epoch, earlier.best_score):
            write_atomically(weights, [kept])

    evaluator.add_event_handler(Events.EPOCH_COMPLETED, restore)


def _add_record(
    trainer: Engine,
    evaluator: Engine,
    network: torch.nn.Module,
    output: Path,
    earlier: TrainingRecord | None,
) -> Callable[[], TrainingRecord]:
    """Keep `training.json` after every epoch; returns what keeps it once more."""
    started = time.perf_counter()
    values = list(network.parameters())

    def keep() -> TrainingRecord:
        epoch, score = _best(evaluator, earlier)
        record = TrainingRecord(
            minutes=(earlier.minutes if earlier else 0.0) + (time.perf_counter() - started) / 60,
            epochs=trainer.state.epoch,
            best_epoch=epoch,
            best_score=score,
            metric=str(_of(evaluator, "key_metric_name")),
            parameters=sum(each.numel() for each in values),
            device=str(values[0].device),
            threads=torch.get_num_threads(),
        )
        write_training_record(output, record)
        return record

    trainer.add_event_handler(Events.EPOCH_COMPLETED, keep)
    return keep


def _best(evaluator: Engine, earlier: TrainingRecord | None) -> tuple[int | None, float | None]:
    """Epoch and score of the best validation, of this training or of those before."""
    epoch, score = _of(evaluator, "best_metric_epoch"), float(_of(evaluator, "best_metric"))
    if earlier and earlier.best_score is not None and (epoch < 1 or score <= earlier.best_score):
        return earlier.best_epoch, earlier.best_score
    return (epoch, score) if epoch > 0 else (None, None)


def _log_to_stderr() -> None:
    """MONAI's StatsHandler writes to stdout, which is for results."""
    for handler in logging.getLogger("monai.handlers.StatsHandler").handlers:
        # Those of its own; what others have hung there stays.
        if type(handler) is logging.StreamHandler:
            handler.stream = sys.stderr


def _of(evaluator: Engine, name: str) -> Any:
    """What MONAI keeps in the state of its engines."""
    return getattr(evaluator.state, name)


def _loss_of(output: Any) -> float:
    return float(output[0]["loss"])


def _add_progress(trainer: Engine, evaluator: Engine, progress: EpochProgress) -> None:
    def tell(engine: Engine) -> None:
        length = engine.state.epoch_length or 1
        done = (engine.state.iteration - 1) % length + 1
        validated = _of(evaluator, "best_metric_epoch") > 0
        best = float(_of(evaluator, "best_metric")) if validated else None
        progress(engine.state.epoch, done / length, best)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, tell)
