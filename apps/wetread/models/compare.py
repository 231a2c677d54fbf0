"""The claims of a published study beside what our bundles measure: one file, one table.

The file keeps what was measured last, so that the table can be made without the data, and without
the weights of variants that are not kept.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import highdicom

from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.description import main_network
from wetread.infer.files import volume_from_nifti
from wetread.models.classification import volume_of_case
from wetread.models.evaluation import built_model, cases_of, evaluate
from wetread.models.original import is_trained, load_original
from wetread.models.training_record import read_training_record

READINGS = 20
_WARM_UP = 2
_DASH = "–"
_MARKERS = ("<!-- claims -->\n", "<!-- end of claims -->\n")
_COLUMNS = ("task", "network", "the study", "ours: accuracy", "AUC", "Dice", "IoU", "parameters",
            "training, min", "inference, ms")  # fmt: skip
# A figure with the bounds of its 95 % interval.
Figure = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one bundle gave on `count` validation cases.

    `dice` and `iou` are means over the segments of each case. `inference_seconds` is the median of
    `READINGS` readings of one case, from its voxels in memory to the result, on `cores` CPU cores.
    """

    count: int
    accuracy: Figure | None
    auc: Figure | None
    dice: Figure | None
    iou: Figure | None
    parameters: int
    training_minutes: float | None
    training_on: str | None
    inference_seconds: float
    cores: int
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: what the study says, and which bundle on which data we hold against it.

    `bundle` and `data` are names of folders, `measured` is None until both were at hand.
    """

    task: str
    network: str
    study: str
    bundle: str
    data: str
    measured: Measured | None = None


def read_claims(path: Path) -> list[Claim]:
    """The rows of a file of claims. Raises ConfigError, naming the row that is amiss."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [_claim(row) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        keys = ", ".join(field.name for field in fields(Claim))
        raise ConfigError(
            f"{path} is no list of claims: {error}", hint=f"each row is an object with {keys}"
        ) from error


def _claim(row: dict[str, Any]) -> Claim:
    found = row.get("measured")
    return Claim(**{**row, "measured": None if found is None else _measured(found)})


def _measured(values: dict[str, Any]) -> Measured:
    known: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Measured(**known)


def write_claims(path: Path, claims: Sequence[Claim]) -> None:
    """Keep the rows with what was measured. Raises StorageError."""
    text = json.dumps([asdict(claim) for claim in claims], indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, [text.encode()])


def measure_claims(
    claims: Sequence[Claim],
    folders: Sequence[Path],
    data: Path,
    repository: Path,
    progress: Progress,
) -> list[Claim]:
    """The rows, measured anew where a trained bundle in one of `folders` and its data are at hand.

    `data` holds the folders of data. Raises as `build_models`, `open_model` and `evaluate`.
    """
    found = []
    for claim in claims:
        bundle = _trained(claim.bundle, folders)
        if bundle is None or not (data / claim.data).is_dir():
            found.append(claim)
            continue
        measured = measure_bundle(bundle, data / claim.data, repository, progress)
        found.append(replace(claim, measured=measured))
    return found


def _trained(name: str, folders: Sequence[Path]) -> Path | None:
    places = (folder / name for folder in folders)
    return next((each for each in places if (each / "configs").is_dir() and is_trained(each)), None)


def measure_bundle(bundle: Path, data: Path, repository: Path, progress: Progress) -> Measured:
    """Evaluate a bundle on the validation cases of a folder, and time it on the first of them."""
    with built_model(bundle, repository, progress) as model:
        figures = evaluate(model, data, None, progress).as_dict()
        seconds = _inference_seconds(model, _first_case(model, data))
    record = read_training_record(bundle / "models")
    return Measured(
        count=figures["count"],
        accuracy=_figure(figures, "accuracy"),
        auc=_figure(figures, "auc"),
        dice=_figure(figures, "mean_dice"),
        iou=_figure(figures, "mean_iou"),
        parameters=_parameters(bundle),
        training_minutes=record.minutes if record else None,
        training_on=record.hardware if record else None,
        inference_seconds=round(seconds, 5),
        cores=os.cpu_count() or 1,
        weights_sha256=figures["weights_sha256"],
    )


def _figure(figures: dict[str, Any], key: str) -> Figure | None:
    if figures.get(key) is None or figures["intervals"][key] is None:
        return None
    low, high = figures["intervals"][key]
    return round(figures[key], 4), round(low, 4), round(high, 4)


def _first_case(model: BundleModel, data: Path) -> highdicom.Volume:
    path = Path(cases_of(model, data, None)[0]["image"])
    return volume_of_case(model, path) if model.description.classes else volume_from_nifti(path)


def _inference_seconds(model: BundleModel, volume: highdicom.Volume) -> float:
    taken = []
    for _ in range(_WARM_UP + READINGS):
        started = time.perf_counter()
        model.read(volume, no_progress)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[_WARM_UP:])


def _parameters(bundle: Path) -> int:
    """Of the network that answers; those that only serve its preprocessing do not count."""
    module = load_original(bundle, main_network(bundle)).module
    return sum(each.numel() for each in module.parameters())


def claims_table(claims: Sequence[Claim]) -> str:
    """The rows as a Markdown table, and a line that says what its figures are."""
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *map(_line, map(_cells, claims))]
    return "\n".join(lines) + "\n\n" + _note(claims) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(claim: Claim) -> list[str]:
    found = claim.measured
    said = [claim.task, claim.network, claim.study]
    if found is None:
        return [*said, *[_DASH] * (len(_COLUMNS) - len(said))]
    return [
        *said,
        _shown(found.accuracy, lambda value: f"{100 * value:.1f} %"),
        *(
            _shown(each, lambda value: f"{value:.3f}")
            for each in (found.auc, found.dice, found.iou)
        ),
        f"{found.parameters / 1e6:.2f} M",
        _minutes(found.training_minutes),
        f"{1000 * found.inference_seconds:.0f}",
    ]


def _minutes(value: float | None) -> str:
    if value is None:
        return _DASH
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _shown(figure: Figure | None, form: Callable[[float], str]) -> str:
    if figure is None:
        return _DASH
    value, low, high = (form(each) for each in figure)
    return f"{value} [{low.removesuffix(' %')} to {high.removesuffix(' %')}]"


def _note(claims: Sequence[Claim]) -> str:
    found = [claim.measured for claim in claims if claim.measured is not None]
    if not found:
        return "Nothing was measured yet."
    cores = " or ".join(map(str, sorted({each.cores for each in found})))
    trained = " or ".join(sorted({each.training_on for each in found if each.training_on}))
    note = (
        "Ours are on validation cases, with 95 % intervals; Dice and IoU are means over segments. "
        f"Inference is the median of {READINGS} readings of one case, from voxels in memory to the "
        f"result, on {cores} CPU cores."
    )
    return note + (f" Trained on {trained}." if trained else "")


def replace_table(page: Path, table: str) -> None:
    """Put the table between its two markers on a page.

    Raises ConfigError if the page has not both of them, StorageError if it cannot be written.
    """
    start, end = _MARKERS
    try:
        before, _, rest = page.read_text(encoding="utf-8").partition(start)
    except OSError as error:
        raise ConfigError(f"{page}: {error.strerror}", hint="give a Markdown page") from error
    _, found, after = rest.partition(end)
    if not found:
        raise ConfigError(
            f"{page} does not say where the table stands",
            hint=f"put the lines {start.strip()} and {end.strip()} there",
        )
    write_atomically(page, [f"{before}{start}{table}{end}{after}".encode()])
