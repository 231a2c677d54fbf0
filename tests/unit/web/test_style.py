"""The colours of the dashboard can be read, in light and in dark (WCAG 2.2, AA); its one library is
the one that was looked at."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from unit.test_markup import contrast
from wetread import web
from wetread.markup import PALETTE

STATIC = Path(web.__file__).parent / "static"
# As npm publishes htmx.org 2.0.11 (0BSD).
HTMX = "YdHy6FzjD4qoyI/yWGIbsKnJHe98r96np9XeYp3ovFL+0sNP/NbDrYlSLDr5a6Ndi5sRi9GgJj+suE7yLeUMNQ=="
ON = {
    "back": ("text", "muted", "note", "mark", "good", "bad", "busy"),
    "soft": ("text", "muted", "mark"),
    "good-soft": ("text", "muted"),
    "bad-soft": ("text", "muted"),
    "mark": ("on-mark",),
}


def themes() -> list[dict[str, str]]:
    """Light, then dark: name to colour."""
    found: list[dict[str, str]] = [{}, {}]
    for sheet in (PALETTE, (STATIC / "style.css").read_text(encoding="utf-8")):
        rules = re.findall(r":root\{([^}]+)\}", sheet)
        assert len(rules) == 2
        for theme, rule in zip(found, rules, strict=True):
            theme.update(re.findall(r"--([\w-]+):(#[0-9a-f]+)", rule))
    return found


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("back", "text"), [(b, t) for b, texts in ON.items() for t in texts])
def test_text_has_a_contrast_of_4_5(theme: int, back: str, text: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[text], colours[back]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_borders_of_fields_have_a_contrast_of_3(theme: int) -> None:
    colours = themes()[theme]
    assert contrast(colours["muted"], colours["back"]) >= 3


def test_every_colour_is_a_named_one() -> None:
    text = (STATIC / "style.css").read_text(encoding="utf-8")
    rules = re.sub(r":root\{[^}]+\}", "", text)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []


def test_htmx_is_the_file_that_npm_publishes() -> None:
    digest = hashlib.sha512((STATIC / "htmx.min.js").read_bytes()).digest()
    assert base64.b64encode(digest).decode() == HTMX


def test_no_template_has_a_script_or_style_of_its_own() -> None:
    """The policy would not let it run."""
    for path in (STATIC.parent / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"<style|style=|<script(?! src)|\son\w+=", text) == [], path.name
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", text) == [], path.name
        assert "|safe" not in text, path.name
