"""Work that takes long, through the annotation server: begun, refused, failed and stopped."""

from __future__ import annotations

import psutil
import pytest

from annotated import NAME
from gateway import eventually

pytestmark = pytest.mark.timeout(240)
RUNNING = "/train/?check_if_running=true"
ENDS_SECONDS = 120.0


@pytest.fixture
def idle(guard):
    """Nothing runs before, and nothing after."""
    guard.ask("admin", "DELETE", "/train/")
    yield
    guard.ask("admin", "DELETE", "/train/")


@pytest.mark.usefixtures("idle")
class TestTraining:
    def test_one_that_fails_is_an_error_with_its_reason(self, guard):
        """Nobody has drawn anything. While it runs, both viewers read 200, and then 404."""
        begun = guard.ask("admin", "POST", f"/train/{NAME}", json={"max_epochs": 1})
        assert begun.status_code == 200
        assert begun.json()["status"] in ("SUBMITTED", "RUNNING")
        assert guard.ask("user", "GET", RUNNING).status_code == 200
        refused = guard.ask("admin", "POST", f"/train/{NAME}", json={})
        assert refused.status_code == 429
        eventually(lambda: guard.ask("user", "GET", RUNNING).status_code == 404, ENDS_SECONDS)

        failed = guard.ask("user", "GET", "/train/")
        assert failed.status_code == 500
        assert f"train {NAME} failed" in failed.json()["error"]
        assert "0 labelled images to train on" in failed.json()["error"]
        assert failed.json()["task"]["status"] == "ERROR"
        assert "Traceback" not in failed.json()["error"]
        assert str(guard.folder) not in failed.json()["error"]
        # OHIF asks nothing else, and so is told here.
        assert "0 labelled images" in guard.ask("user", "GET", RUNNING).json()["hint"]
        every = guard.ask("user", "GET", "/train/?all=true")
        assert every.status_code == 200
        assert every.json()[-1]["id"] == begun.json()["id"]

    def test_one_that_is_stopped_takes_those_in_line_with_it(self, guard):
        begun = [
            guard.ask("admin", "POST", f"/train/{NAME}?enqueue=true", json={}).json()["id"]
            for _ in range(2)
        ]
        eventually(lambda: guard.ask("user", "GET", RUNNING).json()["status"] == "RUNNING")
        assert guard.ask("user", "GET", RUNNING).json()["id"] == begun[0]
        stopped = guard.ask("admin", "DELETE", "/train/").json()
        assert (stopped["id"], stopped["status"]) == (begun[0], "STOPPED")
        assert guard.ask("user", "GET", RUNNING).status_code == 404
        server = psutil.Process(guard.annotating.server.pid)
        eventually(lambda: not server.children())
        every = {
            each["id"]: each["status"]
            for each in guard.ask("user", "GET", "/train/?all=true").json()
        }
        assert [every[each] for each in begun] == ["STOPPED", "STOPPED"]
        assert guard.ask("user", "GET", "/train/").json()["status"] == "STOPPED"

    def test_to_stop_nothing_is_no_error(self, guard):
        answer = guard.ask("admin", "DELETE", "/train/")
        assert (answer.status_code, answer.json()) == (200, None)

    def test_ohif_trains_only_what_somebody_has_drawn_for(self, guard):
        """It asks for all models at once, of which most would fail."""
        answer = guard.ask("admin", "POST", "/train/", json={NAME: {"max_epochs": 1}})
        assert answer.status_code == 422
        assert "no label was saved yet" in answer.json()["error"]
        assert guard.ask("user", "GET", RUNNING).status_code == 404
