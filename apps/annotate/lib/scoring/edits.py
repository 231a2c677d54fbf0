"""What a reader changed of a model's proposal."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np

from lib.people.proposals import Proposal
from lib.scoring.agreement import compare_labels, spacing_of
from lib.stores.labels import Label

_FIGURES = ("dice", "hd95_mm", "changed_ml")


def edit_distance(label: Label, proposal: Proposal) -> dict[str, Any]:
    """From the proposal to the label: which proposal, and Dice, mm and mL of each segment."""
    proposed = np.asarray(nibabel.load(proposal.file).dataobj).astype(np.uint8)
    spacing = spacing_of(label.grid.affine)
    found = compare_labels(proposed, label.labelmap, label.bundle.segments, spacing)
    segments = {
        name: {key: value for key, value in each.as_info().items() if key in _FIGURES}
        for name, each in found.items()
    }
    return {"proposal": proposal.as_info(), "segments": segments}
