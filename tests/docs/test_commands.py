"""Every command and option is described; what the pages tell a person to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from conftest import ROOT
from docs.pages import PACKAGE_PAGE, PAGES, commands, options_of, rows_of, text_of
from wetread.cli import app

COMMANDS = dict(commands())
# What a person puts in; it is no option.
FLAGS = re.compile(r"--[a-z][a-z-]*")


def described() -> dict[tuple[str, ...], set[str]]:
    """Words of each command → the options that its row names."""
    found = {}
    for row in rows_of(text_of(PACKAGE_PAGE)):
        if row[0].startswith("`wetread "):
            words = row[0].strip("`").split()[1:]
            found[tuple(word for word in words if word.islower())] = set(FLAGS.findall(row[1]))
    return found


def shell_lines() -> Iterator[tuple[Path, str]]:
    """Lines of the pages' code blocks, and code in the text that begins like a command."""
    for page in PAGES:
        blocks = re.findall(r"^```\w*\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
        inline = re.findall(
            r"`((?:\.venv/bin/)?(?:wetread|make|deploy/\w+\.sh) [^`\n]+)`", text_of(page)
        )
        for line in [*"\n".join(blocks).splitlines(), *inline]:
            yield page, line.split("#")[0].strip()


def said(program: str) -> list[str]:
    return sorted(
        {
            line.partition(" ")[2]
            for _, line in shell_lines()
            if line.removeprefix(".venv/bin/").partition(" ")[0] == program
        }
    )


def test_every_command_is_described() -> None:
    assert set(described()) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_described(words: tuple[str, ...]) -> None:
    assert described()[words] == options_of(COMMANDS[words])


def test_the_options_before_a_command_are_described() -> None:
    page = text_of(PACKAGE_PAGE)
    group = typer.main.get_command(app)
    own = options_of(group) - {"--install-completion", "--show-completion"}
    assert own == {"--verbose", "--version"}
    assert all(f"wetread {option}" in page for option in own)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_parameter_explains_itself(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help
    assert [each.name for each in command.params if not getattr(each, "help", None)] == []


@pytest.mark.parametrize("line", said("wetread"))
def test_a_command_in_the_pages_exists_with_its_options(line: str) -> None:
    words = shlex.split(re.sub(r"<[^>]+>|…", "X", line))
    command: click.Command | None = typer.main.get_command(app)
    given = set(FLAGS.findall(line))
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None or word.startswith("-"):
            break
        command = inner.get(word)
        assert command is not None, f"{line}: no {word}"
    assert given <= options_of(command) | {"--help"}, line


@pytest.mark.parametrize("line", said("make"))
def test_a_make_target_in_the_pages_exists(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{line.split()[0]}:", makefile, re.MULTILINE)
    for variable in re.findall(r"\b([A-Z]+)=", line):
        assert f"$({variable})" in makefile


@pytest.mark.parametrize("line", said("deploy/setup.sh"))
def test_what_is_set_up_in_the_pages_can_be(line: str) -> None:
    script = (ROOT / "deploy" / "setup.sh").read_text(encoding="utf-8")
    assert re.search(rf"^(?:\w+ \| )?{line}(?: \| \w+)?\)$", script, re.MULTILINE)


def test_the_pages_tell_a_person_to_type_something() -> None:
    """Were the lines not found, the tests above would hold of nothing."""
    assert {"demo", "test"} <= set(said("make"))
    assert {"serve", "check config", "deliveries retry all"} <= set(said("wetread"))
    assert "gateway" in said("deploy/setup.sh")
