"""What a training says while it runs: lines of its log, which viewers show."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from ignite.engine import Engine, Events

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """A bundle's key metric on the held-out images."""

    name: str
    value: float


def first_score(evaluator: Engine) -> Score:
    """Of the weights that a training begins with; an epoch counts only if it is better."""
    evaluator.run()
    score = best_score(evaluator)
    log.info("before: %s %.4f on the held-out images", score.name, score.value)
    return score


def best_score(evaluator: Engine) -> Score:
    """The best so far."""
    state: Any = evaluator.state
    return Score(str(state.key_metric_name), float(state.best_metric))


def add_progress(trainer: Engine, evaluator: Engine) -> None:
    """One line an epoch: number, mean loss, score and the time that is left."""
    losses: list[float] = []
    started = time.monotonic()

    def keep(engine: Engine) -> None:
        output: Any = engine.state.output
        losses.append(float(output[0]["loss"]))

    def tell(engine: Engine) -> None:
        state: Any = evaluator.state
        total = engine.state.max_epochs or engine.state.epoch
        left = (time.monotonic() - started) / engine.state.epoch * (total - engine.state.epoch)
        log.info(
            "epoch %d of %d: loss %.4f, %s %.4f, %.0f s left",
            *(engine.state.epoch, total, sum(losses) / len(losses)),
            *(state.key_metric_name, float(state.metrics[state.key_metric_name]), left),
        )
        losses.clear()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, tell)
