"""Images and labels: the routes under /datastore/."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, File, Form, Query, UploadFile
from monailabel.utils.others.generic import file_checksum, get_mime_type
from starlette.responses import FileResponse

from lib.errors import NotAllowedError, NotThereError
from lib.guard.app import the_app, the_store, the_team
from lib.guard.checks import ANY, LABEL, checked, parsed
from lib.guard.uploads import IMAGES, ending_of, on_disk
from lib.guard.who import current_user
from lib.stores.safe import FINAL, safe_id, safe_tag


class Output(StrEnum):
    """What of the datastore is asked for."""

    train = "train"
    stats = "stats"
    all = "all"


def overview(output: Output = Output.stats) -> Any:
    """How many are labelled, or every image and label, or what training would take."""
    store = the_store()
    if output == Output.all:
        return store.json()
    return store.datalist() if output == Output.train else store.status()


def add_image(
    file: Annotated[UploadFile, File()],
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """A new image. Raises NotAllowedError for an id that is taken."""
    info = checked(parsed(params, "params"), ANY)
    ending = ending_of(file.filename, IMAGES)
    name = Path((file.filename or "").replace("\\", "/")).name
    image_id = safe_id(image or name[: -len(ending)])
    store = the_store()
    if image_id in store.list_images():
        raise NotAllowedError(f"the image {image_id} is there already", hint="give another id")
    with on_disk(file, IMAGES) as path:
        added = store.add_image(image_id, str(path), {**info, "user": current_user()})
    return {"image": added}


def remove_image(id: str) -> dict[str, Any]:  # noqa: A002 - the name in MONAI Label's interface
    """With its labels."""
    the_store().remove_image(safe_id(id))
    return {}


def get_image(image: str) -> FileResponse:
    """Its file."""
    return _file(the_store().get_image_uri(safe_id(image)))


def check_image(image: str, check_sum: str | None = None) -> dict[str, Any]:
    """Whether it is there, and is the same."""
    path = the_store().get_image_uri(safe_id(image))
    if check_sum:
        algorithm, _, digest = check_sum.rpartition(":")
        if algorithm not in ("", "SHA256", "SHA512", "MD5"):
            raise NotAllowedError(f"checksum {algorithm[:16]!r}", hint="SHA256, SHA512 or MD5")
        if file_checksum(path, algo=algorithm or "SHA256").rpartition(":")[2] != digest:
            raise NotThereError(f"{image} is another file", hint="fetch it again")
    return {}


def get_image_info(image: str) -> Any:
    """What is known of it."""
    store = the_store()
    store.get_image_uri(safe_id(image))
    return store.get_image_info(image)


def put_image_info(image: str, info: Annotated[str, Form()] = "{}") -> Any:
    """Add to what is known of it."""
    added = {**parsed(info, "info"), "user": current_user()}
    return the_store().update_image_info(safe_id(image), added)


def save_label(
    image: str,
    label: Annotated[UploadFile, File()],
    params: Annotated[str, Form()] = "{}",
    tag: str = FINAL,
) -> dict[str, Any]:
    """What a reader drew; the store reads who from `current_user`.

    Raises HeldError for a final label of an image that is with somebody else.
    """
    image_id, label_tag = safe_id(image), safe_tag(tag or FINAL)
    info = checked(parsed(params, "params"), LABEL)
    app, holds = the_app(), the_team().holds
    if label_tag == FINAL:
        holds.check(image_id, current_user())
    with on_disk(label) as path:
        label_id = app.datastore().save_label(image_id, str(path), label_tag, info)
    if label_tag == FINAL:
        holds.done(image_id, current_user())
    told = app.on_save_label(image_id, label_id) or {}
    return {**told, "image": image_id, "label": label_id}


def remove_label(id: str, tag: str) -> dict[str, Any]:  # noqa: A002 - as above
    """The label of an image under a tag."""
    the_store().remove_label(safe_id(id), safe_tag(tag))
    return {}


def get_label(label: str, tag: str) -> FileResponse:
    """Its file."""
    return _file(the_store().get_label_uri(safe_id(label), safe_tag(tag)))


def check_label(tag: str, image: str = "", label: Annotated[str, Query()] = "") -> dict[str, Any]:
    """Whether it is there; MONAI Label calls the id `image` here, and `label` elsewhere."""
    the_store().get_label_uri(safe_id(image or label), safe_tag(tag))
    return {}


def get_label_info(label: str, tag: str) -> Any:
    """Who drew it, when, for which bundle."""
    return the_store().get_label_info(safe_id(label), safe_tag(tag))


def put_label_info(label: str, tag: str, info: Annotated[str, Form()] = "{}") -> Any:
    """Add to what is known of it."""
    added = {**parsed(info, "info"), "user": current_user()}
    return the_store().update_label_info(safe_id(label), safe_tag(tag), added)


def put_label_params(label: str, tag: str, params: Annotated[str, Form()] = "{}") -> Any:
    """As `put_label_info`, in the words of Slicer's reviewer module."""
    return put_label_info(label, tag, params)


def get_dataset(after: BackgroundTasks, limit_cases: int | None = None) -> FileResponse:
    """Every image with a final label, as a ZIP file."""
    path = Path(the_store().get_dataset_archive(limit_cases))
    after.add_task(path.unlink)
    return FileResponse(path, media_type="application/zip", filename="dataset.zip")


def _file(uri: str) -> FileResponse:
    path = Path(uri)
    if not path.is_file():
        raise NotThereError(f"{path.name} is no file any more", hint="it was removed meanwhile")
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)
