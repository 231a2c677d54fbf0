"""One self-contained HTML page on an evaluation: figures, charts, subgroups and the worst cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wetread.files import write_atomically
from wetread.infer.base import Progress
from wetread.infer.bundle import BundleModel
from wetread.markup import NOT_FOR_DIAGNOSIS, document, escaped, facts_table
from wetread.models import charts, page_classification, page_parts, worst
from wetread.models.classification import Classification
from wetread.models.page_classification import classification_body
from wetread.models.page_segmentation import segmentation_body
from wetread.models.segmentation import Segmentation

_STYLE = page_parts.STYLE + charts.STYLE + worst.STYLE + page_classification.STYLE
_INTERVALS = (
    "<p>Brackets hold 95 % bootstrap intervals over cases, or over patients where they are known. "
    "They say how far chance reaches, not whether images of another hospital would give the same. "
    "Cases that chose the weights, the temperature or the operating points of a model flatter "
    "it.</p>"
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the page is about: a model that is still open, the data, and what came of them.

    `split` is as it was asked for, `figures` what `found.as_dict()` gave.
    """

    model: BundleModel
    data: Path
    split: str | None
    found: Segmentation | Classification
    figures: Mapping[str, Any]


def write_evaluation_page(
    path: Path, evaluation: Evaluation, created_at: datetime, progress: Progress
) -> None:
    """Write the page; it needs no network and no script. The worst cases are read once more.

    Raises StorageError if it cannot be written, InputError for a cases.csv that cannot be read.
    """
    progress("page", 0.0)
    found, figures = evaluation.found, evaluation.figures
    if isinstance(found, Segmentation):
        model, data, split = evaluation.model, evaluation.data, evaluation.split
        body = segmentation_body(model, data, split, found, figures)
    else:
        body = classification_body(evaluation.data, found, figures)
    title = f"Evaluation of {figures['model']}"
    text = document(title, [_head(title, evaluation, created_at), *body], _STYLE)
    write_atomically(path, [text.encode("utf-8")])
    progress("page", 1.0)


def _head(title: str, evaluation: Evaluation, created_at: datetime) -> str:
    figures = evaluation.figures
    groups = f" of {figures['groups']} patients or groups" if "groups" in figures else ""
    rows = [
        ("model", f"{figures['model']} {figures['version']}"),
        ("weights, SHA-256", figures["weights_sha256"]),
        ("data", f"{evaluation.data.resolve().name}, split {evaluation.split or 'as by default'}"),
        ("cases", f"{figures['count']}{groups}"),
        ("date", created_at.strftime("%Y-%m-%d %H:%M %Z").strip()),
    ]
    return (
        f'<h1>{escaped(title)}</h1><p class="warning">{NOT_FOR_DIAGNOSIS}</p>'
        f"{facts_table(rows)}{_INTERVALS}"
    )
