"""Our doors and their neighbours, all on 127.0.0.1 with ports that were free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from network import neighbours
from wetread.config import ListenerConfig, StowConfig
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool, SpooledFile
from wetread.receive.stow import StowDoor
from wetread.study import ReceivedInstance


@dataclass
class Recorder:
    """What a door recorded; `error` is raised instead if it is set."""

    instances: list[ReceivedInstance] = field(default_factory=list)
    files: list[SpooledFile] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    error: Exception | None = None

    def __call__(self, instance: ReceivedInstance, spooled: SpooledFile) -> None:
        if self.error is not None:
            raise self.error
        self.instances.append(instance)
        self.files.append(spooled)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


@pytest.fixture
def listener_config() -> ListenerConfig:
    return ListenerConfig(port=0, accept_calling_ae_titles=("*",))


@pytest.fixture
def listener(
    listener_config: ListenerConfig, spool: Spool, recorder: Recorder
) -> Iterator[Listener]:
    door = Listener(listener_config, spool, recorder, recorder.ended.append)
    door.start()
    yield door
    door.stop()


@pytest.fixture
def stow_url(spool: Spool, recorder: Recorder) -> Iterator[str]:
    door = StowDoor(StowConfig(), spool, recorder, recorder.ended.append)
    with neighbours.http_serving(door.app) as url:
        yield f"{url}/dicom-web"


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[neighbours.Orthanc]:
    with neighbours.orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[neighbours.Storescp]:
    with neighbours.dcmtk_storescp(tmp_path) as running:
        yield running


@pytest.fixture
def scripted() -> neighbours.ScriptedScp:
    return neighbours.ScriptedScp()
