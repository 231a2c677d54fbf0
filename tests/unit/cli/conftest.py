"""The command, a settings file, a study on disk, and a ledger with something in every state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ended, in_process, write_settings
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel

Run = Callable[..., Ended]


@pytest.fixture
def wetread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs one command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: in_process(capsys, monkeypatch, *arguments)


@pytest.fixture
def settings_file(tmp_path: Path, tiny_ct: TinyModel) -> Path:
    return write_settings(tmp_path, tiny_ct)


@pytest.fixture
def ct_study(tmp_path: Path) -> PhantomSeries:
    """A small CT of the phantom in `study/`."""
    return write_series(tmp_path / "study", shape=(8, 24, 20), row_spacing_mm=8.0)
