"""Work that takes long: the routes under /train/, /scoring/ and /batch/infer.

A task that failed is an error here, where MONAI Label answers 200 and `"status": "ERROR"`. What the
viewers ask for does not change: OHIF asks only with `check_if_running`, and Slicer first does;
both read 200 as yes and anything else as no. Slicer's monitor of a training that it saw running
asks without it: of one that failed it gets 500, prints the answer with the reason to its console,
and asks again until the next training, where a 200 would show as a training that is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Body
from starlette.responses import JSONResponse

from lib.errors import NotAllowedError, NotThereError, TrainingError
from lib.guard import runner
from lib.guard.app import (
    config_of,
    infer_task,
    scoring_method,
    the_app,
    the_store,
    train_task,
)
from lib.guard.checks import ANY, BATCH, checked, of_config
from lib.stores.safe import FINAL, safe_id

TRAIN, SCORING, BATCH_INFER = "train", "scoring", "batch_infer"
Params = Annotated[dict[str, Any] | None, Body()]


class Images(StrEnum):
    """Of which images a batch is."""

    all = "all"
    labeled = "labeled"
    unlabeled = "unlabeled"


def status_of(method: str) -> Callable[..., Any]:
    """A route that says how the latest task of that kind goes."""

    def status(all: bool = False, check_if_running: bool = False) -> Any:  # noqa: A002
        """The latest, or all; one that failed is an error, with its reason."""
        if check_if_running:
            return _shown(_running(method))
        if all:
            return [_shown(each) for each in runner.every(method)]
        task = runner.latest(method)
        if task is None:
            raise NotThereError(f"no {method} was started", hint=f"POST to /{method}/ starts one")
        if task["status"] == runner.ERROR:
            return JSONResponse({**_failure(method, task), "task": _shown(task)}, 500)
        return _shown(task)

    return status


def stop_of(method: str) -> Callable[..., Any]:
    """A route that stops what runs and waits of that kind."""

    def stop() -> Any:
        """The task that was stopped; null if there was none."""
        task = runner.stop(method)
        return _shown(task) if task else None

    return stop


def train(model: str, params: Params = None, enqueue: bool = False, run_sync: bool = False) -> Any:
    """Train one model. Raises TooManyError while another trains, unless it is to wait."""
    _refuse_sync(run_sync)
    wanted = checked(params or {}, _train_keys(model), "body")
    return _shown(runner.start(TRAIN, {**wanted, "model": model}, in_line=enqueue))


def train_all(params: Params = None, run_sync: bool = False) -> Any:
    """Train each model that somebody has drawn for, as OHIF asks for, one after the other.

    `params` are by model. Raises TrainingError if nobody has drawn anything.
    """
    _refuse_sync(run_sync)
    given = params or {}
    wanted = {
        model: checked(_object(given, model), _train_keys(model), f"body.{model}")
        for model in given
        if model not in ANY
    }
    drawn = _drawn_for()
    models = [each for each in the_app()._trainers if each in drawn]
    if not models:
        raise TrainingError("no label was saved yet", hint="save some, under the tag final")
    if runner.unfinished(TRAIN):
        return {each: {"result": None, "detail": "another training runs"} for each in models}
    started = {
        each: runner.start(TRAIN, {**wanted.get(each, {}), "model": each}, in_line=True)
        for each in models
    }
    return {each: {"result": _shown(task), "detail": None} for each, task in started.items()}


def score(method: str, params: Params = None, run_sync: bool = False) -> Any:
    """Run one scoring method. Raises TooManyError while another runs."""
    _refuse_sync(run_sync)
    return _shown(runner.start(SCORING, _scoring_request(method, params or {})))


def score_all(params: Params = None, run_sync: bool = False) -> Any:
    """Run each, one after the other; `params` are by method."""
    _refuse_sync(run_sync)
    given = params or {}
    for each in given:
        if each not in ANY:
            scoring_method(each)
    requests = {
        each: _scoring_request(each, _object(given, each)) for each in the_app()._scoring_methods
    }
    started = {
        each: runner.start(SCORING, request, in_line=True) for each, request in requests.items()
    }
    return {each: {"result": _shown(task), "detail": None} for each, task in started.items()}


def infer_batch(
    model: str, images: Images = Images.all, params: Params = None, run_sync: bool = False
) -> Any:
    """Propose labels, under the tag `original`, on all images or on some."""
    _refuse_sync(run_sync)
    allowed = {**of_config(config_of(infer_task(model))), **BATCH}
    wanted = checked(params or {}, allowed, "body")
    request = {"multi_gpu": False, "max_workers": 1, "label_tag": "original", **wanted}
    return _shown(runner.start(BATCH_INFER, {**request, "model": model, "images": str(images)}))


def _train_keys(model: str) -> Mapping[str, Any]:
    return {**of_config(config_of(train_task(model))), **ANY}


def _scoring_request(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {**of_config(config_of(scoring_method(method))), **ANY}
    return {**checked(params, allowed, f"body.{method}"), "method": method}


def _object(params: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = params.get(key, {})
    if not isinstance(value, dict):
        raise NotAllowedError(f"body.{key} is no object", hint='send {"key": value}')
    return value


def _drawn_for() -> set[str]:
    """Bundles of the final labels; one whose bundle nobody wrote down may be of any."""
    store = the_store()
    infos = [store.get_label_info(safe_id(each), FINAL) for each in store.get_labeled_images()]
    named = {str(each.get("bundle") or "") for each in infos}
    return set(the_app()._trainers) if "" in named else named


def _running(method: str) -> runner.Task:
    for task in runner.unfinished(method):
        return task
    last = runner.latest(method)
    failed = last is not None and last["status"] == runner.ERROR
    hint = _failure(method, last)["error"] if failed and last else f"POST to /{method}/ starts one"
    raise NotThereError(f"no {method} runs", hint=hint)


def _failure(method: str, task: runner.Task) -> dict[str, str]:
    request = task["request"]
    what = request.get("model") or request.get("method") or ""
    hint = "the log has more: GET /logs/; labels that were saved are kept"
    return {"error": f"{method} {what} failed: {task['error']}", "hint": hint}


def _shown(task: runner.Task) -> runner.Task:
    return {**task, "details": list(task["details"])[-20:]}


def _refuse_sync(run_sync: bool) -> None:
    if run_sync:
        raise NotAllowedError("run_sync is not offered", hint="ask for the status instead")
