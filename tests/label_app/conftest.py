"""Servers that several files ask; each starts once, with the first test that wants it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from annotated import Annotating, annotating
from conftest import ROOT
from label_app.archived import Archive, archived
from label_app.guarded import PASSWORD, Guarded, Upstream, guarded, upstream

# The guard's parts that need no MONAI Label are tested without a server.
sys.path.insert(0, str(ROOT / "apps/annotate"))
ORIGIN = "https://viewer.example"


@dataclass(frozen=True)
class OpenServer:
    """A server without users, over an archive that asks for a password."""

    annotating: Annotating
    archive: Upstream


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    folder = tmp_path_factory.mktemp("open")
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    how = {
        "studies_user": "wetread",
        "studies_password_file": str(secret),
        "origins": (ORIGIN,),
    }
    with upstream() as archive, annotating(folder, archive.url, **how) as running:
        yield OpenServer(running, archive)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with archived(tmp_path_factory.mktemp("archive")) as running:
        yield running
