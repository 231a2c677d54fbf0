"""A model's weights: the routes under /model/, which are for admins."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import File, UploadFile
from monailabel.utils.others.generic import file_checksum
from starlette.responses import FileResponse

from lib.errors import NotThereError
from lib.guard.app import infer_task, the_app
from lib.guard.refusals import GuardError
from lib.guard.uploads import WEIGHTS, on_disk


class WrongWeightsError(GuardError):
    """A file that holds no weights, or more than weights."""

    status = 422


def get(model: str) -> FileResponse:
    """The weights in use."""
    path = _weights(model)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{model}.pt")


def info(model: str) -> Any:
    """Their checksum and age."""
    _weights(model)
    return the_app().model_info(model)


def put(model: str, file: Annotated[UploadFile, File()]) -> dict[str, Any]:
    """Other weights, in use from the next request on. Raises WrongWeightsError."""
    place = Path(infer_task(model).get_path(validate=False))
    with on_disk(file, WEIGHTS) as uploaded:
        try:
            torch.load(uploaded, map_location="cpu", weights_only=True)
        except Exception as error:
            raise WrongWeightsError(
                f"{model}: no state_dict of torch: {type(error).__name__}",
                hint="save it by torch.save(network.state_dict(), ...)",
            ) from error
        part = place.with_name(f".{place.name}.upload")
        shutil.copyfile(uploaded, part)
        part.replace(place)
    return {"checksum": file_checksum(str(place)), "modified_time": int(place.stat().st_mtime)}


def remove(model: str) -> dict[str, Any]:
    """Set the weights aside: they are renamed, and the model answers no more."""
    path = _weights(model)
    path.rename(path.with_name(f"{path.name}.{time.strftime('%Y%m%d_%H%M%S')}.deleted"))
    return {}


def _weights(model: str) -> Path:
    infer_task(model)
    found = the_app().model_file(model)
    if not found:
        raise NotThereError(f"{model} has no weights here", hint="train it, or send some")
    return Path(found)
