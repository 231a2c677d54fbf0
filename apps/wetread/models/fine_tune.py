"""A candidate: a copy of a bundle, trained on from its own weights on what readers corrected."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wetread.bundle_components.data import decathlon_cases
from wetread.corrections.cases import Correction, holdout_of, read_corrections
from wetread.errors import ConfigError, InputError
from wetread.models.train import EpochProgress, Training, read_train_config, train_bundle

EPOCHS = 10
# Of the bundle's own: what is learnt already must not be unlearnt in the first steps.
RATE_SHARE = 0.25
_NOT_COPIED = shutil.ignore_patterns("runs", "checkpoint*", "eval", ".*")


def fine_tune(
    bundle: Path,
    annotations: Path,
    output: Path,
    progress: EpochProgress,
    *,
    data: Path | None = None,
    epochs: int = EPOCHS,
    fresh: bool = False,
) -> Training:
    """Train a copy of the bundle in `output` on the corrections under `annotations`.

    Cases that are held out are never trained on; the best epoch is chosen on them. With `data`, the
    bundle's own training cases are learnt beside the corrections, and its validation cases judged
    beside those held out. One that was cut short goes on, unless `fresh`.

    Raises InputError if there are too few corrections, ConfigError for a bundle that learns from no
    labelmaps, and as `train_bundle`.
    """
    _check(bundle)
    held_out = holdout_of(annotations, bundle.name)
    corrections = read_corrections(annotations, bundle.name)
    train = [_files(each) for each in corrections if each.case_id not in held_out]
    judged = [_files(each) for each in corrections if each.case_id in held_out]
    if data is not None:
        train += decathlon_cases(data, "train")
        judged += decathlon_cases(data, "val")
    if not train or not judged:
        raise InputError(
            f"{annotations / bundle.name} has {len(train)} cases to train on and {len(judged)} "
            "held out",
            hint="correct more, or give the bundle's own data beside them: --data",
        )
    if fresh:
        shutil.rmtree(output, ignore_errors=True)
    if not (output / "configs").is_dir():
        shutil.copytree(bundle, output, ignore=_NOT_COPIED, dirs_exist_ok=True)
    return train_bundle(
        output,
        data or annotations,
        output / "models",
        progress,
        epochs=epochs,
        overrides=_overrides(bundle, train, judged),
    )


def _check(bundle: Path) -> None:
    config = read_train_config(bundle)
    missing = [key for key in ("start_from", "learning_rate") if key not in config]
    if missing or not (bundle / "models/model.pt").is_file():
        what = f"no {missing[0]} in its train.json" if missing else "no models/model.pt"
        raise ConfigError(
            f"{bundle.name} cannot go on from its weights: it has {what}",
            hint="see bundles/README.md, or train it on its own data first",
        )


def _overrides(
    bundle: Path, train: Sequence[dict[str, str]], judged: Sequence[dict[str, str]]
) -> dict[str, Any]:
    config = read_train_config(bundle)
    return {
        "start_from": str((bundle / "models/model.pt").resolve()),
        "start_prefix": "",
        "learning_rate": config["learning_rate"] * RATE_SHARE,
        "batch_size": min(int(config.get("batch_size", 1)), len(train)),
        "train#dataset#data": list(train),
        "validate#dataset#data": list(judged),
    }


def _files(correction: Correction) -> dict[str, str]:
    return {"image": str(correction.image), "label": str(correction.label)}
