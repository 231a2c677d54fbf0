"""The pages of the project, taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import typer.main
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from conftest import ROOT
from wetread import metrics
from wetread.cli import app

PAGES = tuple(
    path
    for pattern in ("*.md", "*/README.md", "*/runbook.md", "*/*/README.md", "bundles/*/docs/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
PACKAGE_PAGE = ROOT / "apps" / "wetread" / "README.md"
DEPLOY_PAGE = ROOT / "deploy" / "README.md"
METRICS = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
Row = tuple[str, ...]


def name_of(metric: MetricWrapperBase) -> str:
    return metric._name + ("_total" if isinstance(metric, Counter) else "")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rows_of(text: str) -> Iterator[Row]:
    """The rows of every Markdown table, without heads and rules."""
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line):
            yield tuple(cell.strip() for cell in line.strip("|").split(" | "))


def tables_by_heading(text: str) -> Mapping[str, list[Row]]:
    """Rows under each `###` heading."""
    sections = re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]
    return {section.partition("\n")[0]: list(rows_of(section)) for section in sections}


def commands(
    group: click.Command | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    command = group or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from commands(each, (*path, name))


def options_of(command: click.Command) -> set[str]:
    """Its long options, but for --help."""
    return {
        option
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }


COMMANDS_BY_WORDS = dict(commands())
