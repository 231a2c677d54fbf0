"""The look of this server's own pages: no script, no file from elsewhere, light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping

from starlette.responses import HTMLResponse

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}
# Text has a contrast of at least 4.5, borders of what is operated of at least 3 (WCAG 2.2).
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b2126; --muted: #525d67;
  --mark: #0b5c99; --on-mark: #fff; --wrong: #a40000; --line: #c5ced6; --edge: #6b7781;
  --soft: #eef2f5; --good: #146c2e; --wait: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --back: #101418; --text: #e6e9ec;
  --muted: #a3adb6; --mark: #7cc0f2; --on-mark: #101418; --wrong: #ff9a8c; --line: #3a444d;
  --edge: #84919c; --soft: #1a2026; --good: #7ad694; --wait: #ffb95c; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1em;
  background: var(--back); color: var(--text); }
h1 { font-size: 1.5em; margin: 0; }
a { color: var(--mark); }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
label, input, select, textarea, button { font: inherit; }
input, select, textarea { color: inherit; background: var(--back); border: 1px solid var(--edge);
  border-radius: 4px; padding: .4em .5em; max-width: 100%; }
button { color: var(--text); background: var(--soft); border: 1px solid var(--edge);
  border-radius: 4px; padding: .4em .9em; cursor: pointer; }
button.first { color: var(--on-mark); background: var(--mark); border-color: var(--mark); }
.wrong { color: var(--wrong); }
"""


def page(
    title: str,
    content: str,
    style: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A whole page around markup; `style` is added to the common look."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>wetread: {escaped(title)}</title>\n<style>{_STYLE}{style}</style></head>\n"
        f"<body>\n{content}\n</body>\n</html>\n"
    )
    return HTMLResponse(text, status, {**(headers or {}), **HEADERS})


def escaped(value: object) -> str:
    """As text: no markup in it counts."""
    return html.escape(str(value))
