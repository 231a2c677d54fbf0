"""A model on an image: the routes under /infer/ and /activelearning/."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, File, Form, Request, UploadFile
from monailabel.datastore.utils.convert import binary_to_image
from monailabel.endpoints.infer import send_response
from monailabel.utils.others.generic import remove_file

from lib.errors import NotAllowedError
from lib.guard.app import (
    config_of,
    every_label,
    infer_task,
    strategy,
    the_app,
    the_store,
    the_team,
)
from lib.guard.checks import ANY, INFER, checked, of_config, of_labels, parsed
from lib.guard.people import ANNOTATOR, Person
from lib.guard.sessions import session_of
from lib.guard.turns import Turns
from lib.guard.uploads import SCRIBBLES, VOLUMES, on_disk
from lib.guard.who import current_user
from lib.stores.safe import safe_id


class Output(StrEnum):
    """In which form an answer is wanted."""

    image = "image"
    json = "json"
    all = "all"


def infer(
    request: Request,
    after: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: Output | None = None,
) -> Any:
    """A mask of an image of the store, of an upload, or of a session, which goes before both.

    Raises BusyError if too many wait.
    """
    turns: Turns = request.app.state.turns
    task = infer_task(model)
    allowed = {**of_labels(every_label()), **of_config(config_of(task)), **INFER}
    wanted = checked(parsed(params, "params"), allowed)
    if label is not None and "label" in wanted:
        raise NotAllowedError("a label as a file and by name", hint="leave out params.label")
    with ExitStack() as stack:
        if session_id:
            found = session_of(session_id)
            asked = {"image": found.image, "session": found.to_json()}
        elif file is not None:
            asked = {"image": str(stack.enter_context(on_disk(file, VOLUMES)))}
        else:
            # As a path, for MONAI Label takes an id that is also the name of a file for the file.
            asked = {"image": str(the_store().get_image_uri(safe_id(image)))}
        if label is not None:
            asked["label"] = _scribbles(stack, label, asked["image"])
        with turns.turn():
            result = the_app().infer({**wanted, "model": model, **asked})
    if not session_id and file is None and result.get("file"):
        _remember(request.state.person, task, image, Path(asked["image"]), Path(result["file"]))
    if output == Output.image and not result.get("file"):
        raise NotAllowedError(f"{model} draws no mask", hint="ask for output=json")
    return send_response(the_store(), result, output, after)


def next_sample(
    request: Request,
    strategy_name: str,
    params: Annotated[dict[str, Any] | None, Body()] = None,
) -> dict[str, Any]:
    """The image that is to be annotated next; empty if none is left.

    A strategy that asks a model has its turn with the inferences. Raises BusyError.
    """
    turns: Turns = request.app.state.turns
    config = config_of(strategy(strategy_name))
    wanted = checked(params or {}, {**of_config(config), **ANY}, "body")
    store = the_store()
    with turns.turn() if "model" in config else nullcontext():
        sample = the_app().next_sample({**wanted, "strategy": strategy_name})
    if not sample:
        return {}
    image_id = sample["id"]
    info = store.get_image_info(image_id)
    chosen = {"ts": int(time.time()), "client_id": wanted.get("client_id") or current_user()}
    store.update_image_info(
        image_id, {"strategy": {**info.get("strategy", {}), strategy_name: chosen}}
    )
    return {**sample, **info}


def _remember(person: Person, task: Any, image_id: str, image: Path, mask: Path) -> None:
    """What a reader was shown: how far his label is from it is measured when he saves."""
    bundle = getattr(task, "bundle", None)
    if bundle is None or not person.may(ANNOTATOR):
        return
    team = the_team()
    team.holds.renew(image_id, person.name)
    team.proposals.keep(image_id, image, person.name, bundle, mask)


def _scribbles(stack: ExitStack, label: UploadFile, image: str) -> str:
    """OHIF sends bare voxels, which get the image's grid."""
    path = stack.enter_context(on_disk(label, SCRIBBLES))
    if path.suffix != ".bin":
        return str(path)
    try:
        made = str(binary_to_image(image, str(path)))
    except ValueError as error:
        raise NotAllowedError(
            f"label.bin does not fill the image: {error}", hint="uint8, the first axis fastest"
        ) from error
    stack.callback(remove_file, made)
    return made
