"""All files that a simulation leaves beside its rounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from wetread.files import write_atomically
from wetread.models.simulate import Round, read_settings
from wetread.models.simulate_page import simulation_svg, write_simulation_page
from wetread.models.simulate_summary import curves_csv, curves_of, curves_table, summary_of


def write_report(output: Path, rounds: Sequence[Round]) -> str:
    """Write `curves.csv`, `.json`, `.md`, `.svg` and `.html`, and return the Markdown table.

    Raises StorageError.
    """
    settings, curves = read_settings(output), curves_of(rounds)
    table = curves_table(curves)
    texts = {
        "curves.csv": curves_csv(rounds),
        "curves.json": json.dumps(summary_of(curves, settings), indent=2) + "\n",
        "curves.md": table,
        "curves.svg": simulation_svg(curves),
    }
    for name, text in texts.items():
        write_atomically(output / name, [text.encode("utf-8")])
    page = output / "curves.html"
    write_simulation_page(page, curves, settings, datetime.now().astimezone())
    return table
