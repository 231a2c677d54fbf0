"""HTML pages that need no other file: one look, in light, in dark and on paper."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_FOR_DIAGNOSIS = "Not for diagnostic use"
# Text has a contrast of at least 4.5 and marks of at least 3 to what lies under them (WCAG 2.2).
PALETTE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b2126;--muted:#525d67;--note:#8a4b00;
--mark:#1668a6;--second:#b3420b;--line:#c5ced6;--soft:#eef2f5}
@media screen and (prefers-color-scheme:dark){:root{--back:#101418;--text:#e6e9ec;--muted:#9aa4ad;
--note:#ffb040;--mark:#4aa3df;--second:#ff8a4c;--line:#3a444d;--soft:#1a2026}}
"""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:var(--back);color:var(--text)}
main{max-width:1080px;margin:auto;padding:24px}
@media(max-width:600px){main{padding:16px}}
h1{font-size:22px;line-height:1.25;margin:0}h1,h3{overflow-wrap:anywhere}
h2{font-size:16px;margin:28px 0 8px}
h3{font-size:15px;margin:20px 0 6px}p{margin:4px 0 16px;max-width:75ch}.note{color:var(--note)}
table{border-collapse:collapse}td,th{padding:3px 14px 3px 0;text-align:left;vertical-align:top}
th{font-weight:600;color:var(--muted)}code{word-break:break-all}
.bar{display:inline-block;height:10px;background:var(--mark);margin-right:8px}
@media print{body{font-size:11px}main{max-width:none;padding:0}h2,h3{break-after:avoid}
figure,tr{break-inside:avoid}}
"""


def escaped(value: object) -> str:
    """The text of a value, as text: no markup in it counts."""
    return html.escape(str(value))


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page around markup; `style` is added to the look that all pages share."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{PALETTE}{_STYLE}{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def facts_table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, one a row."""
    cells = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td><code>{escaped(value)}</code></td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def figures_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a head over each column; the first cell of a row is its head.

    Wider than the page, it scrolls by itself, with the keyboard too.
    """
    head = "".join(f'<th scope="col">{escaped(column)}</th>' for column in columns)
    body = "".join(_row(row) for row in rows)
    label = escaped(", ".join(column for column in columns if column))
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table class="figures">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[object]) -> str:
    first, *others = row
    cells = "".join(f"<td>{escaped(value)}</td>" for value in others)
    return f'<tr><th scope="row">{escaped(first)}</th>{cells}</tr>'


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture, (row, column) or (row, column, 3), within the page as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
