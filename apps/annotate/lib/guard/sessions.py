"""Images of a viewer that are not in the store: the routes under /session/."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

from fastapi import File, Request, UploadFile
from monailabel.utils.others.generic import get_mime_type
from monailabel.utils.sessions import SessionInfo, Sessions
from starlette.responses import FileResponse

from lib.errors import NotAllowedError, NotThereError
from lib.guard.app import the_app
from lib.guard.refusals import TooManyError
from lib.guard.uploads import VOLUMES, ending_of
from lib.guard.who import current_user
from lib.settings import Settings

OLDEST_SECONDS = 12 * 3600
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SLICE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_adding = threading.Lock()


def create(
    request: Request,
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,
    expiry: int = 0,
) -> dict[str, Any]:
    """One volume, or the slices of one series. It ends `expiry` seconds after its last use.

    Raises TooManyError beyond `max_sessions`.
    """
    if uncompress:
        raise NotAllowedError(
            "archives are not unpacked here", hint="send a volume, or each slice as a file"
        )
    settings: Settings = request.app.state.settings
    with tempfile.TemporaryDirectory(prefix="wetread-session-") as folder, _adding:
        sessions = _sessions()
        _make_room(sessions, settings.max_sessions)
        image = _received(files, Path(folder))
        session_id, info = sessions.add_session(
            str(image), max(0, expiry), session_id=str(uuid.uuid4())
        )
        info.meta["owner"] = current_user()
        sessions._write_meta_info(session_id, info)
    return {"session_id": session_id, "session_info": info.to_json()}


def get(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """What is known of one's own session, or its image."""
    info = session_of(session_id, update=update_ts)
    if not image:
        return info.to_json()
    path = Path(info.image)
    if not path.is_file():
        raise NotThereError(f"session {session_id} is a series of files", hint="ask without image")
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)


def remove(session_id: str) -> Any:
    """End one's own session."""
    info = session_of(session_id)
    _sessions().remove_session(session_id)
    return info.to_json()


def session_of(session_id: str, *, update: bool = True) -> SessionInfo:
    """The session, if it is one's own. Raises NotThereError."""
    info = _sessions().get_session(session_id, update) if _ID.fullmatch(session_id) else None
    if info is None or info.meta.get("owner") != current_user():
        raise NotThereError(f"no session {session_id[:64]!r}", hint="it may have ended: begin anew")
    return info


def _received(files: list[UploadFile], folder: Path) -> Path:
    if len(files) == 1:
        path = folder / f"image{ending_of(files[0].filename, VOLUMES)}"
        _write(files[0], path)
        return path
    series = folder / "series"
    series.mkdir()
    for each in files:
        name = PureWindowsPath(each.filename or "").name
        if not _SLICE.fullmatch(name) or (series / name).exists():
            raise NotAllowedError(
                f"a file named {name[:64]!r}", hint="letters, digits, '.', '_' and '-', each once"
            )
        _write(each, series / name)
    return series


def _write(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def _make_room(sessions: Sessions, most: int) -> None:
    store = Path(sessions.store_path)
    there = [each.name for each in store.iterdir()] if store.is_dir() else []
    left = []
    for name in there:
        info = sessions.get_session(name, update_ts=False)
        if info is None or _end_of(info) < time.time():
            sessions.remove_session(name)
        else:
            left.append(info)
    if len(left) >= most:
        ends = min(map(_end_of, left))
        raise TooManyError(
            f"{len(left)} sessions are open",
            hint="end one: DELETE /session/ID",
            retry_seconds=ends - time.time(),
        )


def _end_of(info: SessionInfo) -> float:
    return float(min(info.last_access_ts + info.expiry, info.create_ts + OLDEST_SECONDS))


def _sessions() -> Sessions:
    found: Sessions = the_app().sessions()
    return found
