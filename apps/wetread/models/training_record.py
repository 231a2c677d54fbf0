"""What a training took: `training.json` beside the weights, kept after every epoch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from wetread.errors import ConfigError
from wetread.files import write_atomically

TRAINING = "training.json"


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The price and the outcome of the weights beside it.

    `minutes` of wall time with validation, summed over trainings that went on from one another;
    `best_epoch` and `best_score` are of the weights, None before the first validation;
    `parameters` is the number of values in the network that training may change or has frozen.
    """

    minutes: float
    epochs: int
    best_epoch: int | None
    best_score: float | None
    metric: str
    parameters: int
    device: str
    threads: int

    @property
    def hardware(self) -> str:
        """On what the last part was trained: cuda:0, or cpu with 2 threads."""
        if self.device != "cpu":
            return self.device
        return f"cpu with {self.threads} thread{'' if self.threads == 1 else 's'}"


def write_training_record(folder: Path, record: TrainingRecord) -> None:
    """Keep it as training.json. Raises StorageError."""
    text = json.dumps({**asdict(record), "minutes": round(record.minutes, 2)}, indent=4) + "\n"
    write_atomically(folder / TRAINING, [text.encode()])


def read_training_record(folder: Path) -> TrainingRecord | None:
    """What the last training here took, None if none says so. Raises ConfigError."""
    path = folder / TRAINING
    if not path.is_file():
        return None
    try:
        return TrainingRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is no record of a training: {error}",
            hint="remove it, or train again with --fresh",
        ) from error
