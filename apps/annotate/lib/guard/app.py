"""The app behind the gate, and what it has under a name, or an error that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance

from lib.errors import NotThereError
from lib.people.team import Team


def the_app() -> MONAILabelApp:
    """The one of this process."""
    app: MONAILabelApp = app_instance()
    return app


def the_store() -> Any:
    """Its images and labels: one of lib.stores."""
    return the_app().datastore()


def the_team() -> Team:
    """Who draws its images."""
    team: Team = the_app().team
    return team


def infer_task(name: str) -> Any:
    """Raises NotThereError for an unknown model."""
    return _named(the_app()._infers, name, "model")


def train_task(name: str) -> Any:
    """Raises NotThereError for a model that cannot be trained."""
    return _named(the_app()._trainers, name, "model to train")


def strategy(name: str) -> Any:
    """Raises NotThereError."""
    return _named(the_app()._strategies, name, "strategy")


def scoring_method(name: str) -> Any:
    """Raises NotThereError."""
    return _named(the_app()._scoring_methods, name, "scoring method")


def config_of(task: Any) -> Mapping[str, Any]:
    """What a request may set of it."""
    found = task.info().get("config") or {}
    return found if isinstance(found, Mapping) else {}


def every_label() -> list[str]:
    """The labels of all models: Slicer sends clicks for each of them to any."""
    return [str(each) for task in the_app()._infers.values() for each in task.labels or ()]


def _named(tasks: Mapping[str, Any], name: str, what: str) -> Any:
    task = tasks.get(name)
    if task is None:
        raise NotThereError(
            f"no {what} {name[:64]!r}", hint=f"known: {', '.join(sorted(tasks)) or 'none'}"
        )
    return task
