"""What every page is made of: text that stays text, tables with heads, colours one can read."""

from __future__ import annotations

import re

import pytest

from wetread.markup import document, facts_table, figures_table


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.lstrip("#")
    pairs = [each * 2 for each in digits] if len(digits) == 3 else re.findall("..", digits)
    parts = [int(pair, 16) / 255 for pair in pairs]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    ]
    return float(
        sum(share * each for share, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    )


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "least"),
    [("text", 4.5), ("muted", 4.5), ("note", 4.5), ("mark", 3.0), ("second", 3.0)],
)
def test_colours_can_be_read_in_both_themes(theme: int, name: str, least: float) -> None:
    [*themes] = re.findall(r":root\{([^}]+)\}", document("title", []))
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", themes[theme]))
    assert contrast(colours[name], colours["back"]) >= least


def test_the_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21.0)


def test_text_stays_text() -> None:
    evil = "<b>&\"'"
    for markup in (
        document(evil, []),
        facts_table([(evil, evil)]),
        figures_table([evil], [[evil, evil]]),
    ):
        assert "<b>" not in markup
        assert "&lt;b&gt;&amp;" in markup


def test_rows_and_columns_have_heads() -> None:
    table = figures_table(["case", "Dice"], [["one", 0.5], ["two", 0.7]])
    assert table.count('<th scope="col">') == 2
    assert table.count('<th scope="row">') == 2
    assert "<td>0.7</td>" in table
