"""What keeps the annotation server from working, found before a reader does."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

from wetread.checked import Checked, look_at
from wetread.environments import run_tool
from wetread.errors import ConfigError
from wetread.label.environment import open_environment
from wetread.label.server import url_of
from wetread.label.workspace import LabelSettings

_TIMEOUT_SECONDS = 10.0
_IMPORTS = "import monailabel.config, wetread.bundle_components.networks; print(1)"


def examine(settings: LabelSettings, bundles: Path, environment: Path) -> list[Checked]:
    """Every finding, good ones too; nothing is changed or started."""
    return look_at(
        (
            ("environment", lambda: _environment(environment)),
            ("bundles", lambda: _bundles(settings, bundles)),
            ("studies", lambda: _studies(settings.studies)),
            ("server", lambda: _server(settings)),
            ("labels", lambda: _labels(settings.folder)),
        )
    )


def _environment(folder: Path) -> str:
    found = open_environment(folder)
    run_tool([found.python, "-c", _IMPORTS], "make it again: wetread label install")
    return f"whole, Python {found.python_version}, in {found.folder}"


def _bundles(settings: LabelSettings, folder: Path) -> str:
    names = settings.names or sorted(
        each.parent.parent.name for each in folder.glob("*/configs/dicom.json")
    )
    ready = [name for name in names if (folder / name / "models/model.pt").is_file()]
    if not ready:
        raise ConfigError(
            f"of {len(names)} bundles in {folder} none has weights",
            hint="train one: wetread bundle train",
        )
    without = sorted(set(names) - set(ready))
    rest = f"; without weights here: {', '.join(without)}" if without else ""
    return f"{', '.join(ready)}{rest}"


def _studies(studies: str) -> str:
    if not studies:
        raise ConfigError("no studies are named", hint="label.studies, or --studies")
    if not studies.startswith(("http://", "https://")):
        folder = Path(studies)
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder", hint="make it, and put NIfTI files there")
        images = [*folder.glob("*.nii"), *folder.glob("*.nii.gz")]
        if not images:
            raise ConfigError(f"{folder} has no NIfTI file", hint="put .nii.gz files there")
        return f"{len(images)} images in {folder}"
    url = f"{studies.rstrip('/')}/series?limit=1"
    try:
        asked = urllib.request.Request(url, headers={"Accept": "application/dicom+json"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            found = json.load(answer) if answer.status == 200 else []
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{url} does not answer as DICOMweb: {error}",
            hint="is the archive up, and is that its service root?",
        ) from error
    return f"{studies} answers" if found else f"{studies} answers, and has no series"


def _server(settings: LabelSettings) -> str:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.settimeout(_TIMEOUT_SECONDS)
        if probe.connect_ex((settings.host, settings.port)):
            return f"not running; port {settings.port} is free"
    url = url_of(settings)
    try:
        with urllib.request.urlopen(f"{url}/info/", timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            models = json.load(answer)["models"]
            return f"running at {url} with {len(models)} models"
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return f"running at {url}, and asks for a token"
        raise ConfigError(
            f"{url} answers {error.code}", hint="another program has the port: label.port"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{url} is no annotation server: {error}", hint="another port: label.port"
        ) from error


def _labels(folder: Path) -> str:
    waiting = list(folder.glob("cache/*/outbox/*.dcm"))
    refused = list(folder.glob("cache/*/outbox/refused/*.dcm"))
    if refused:
        raise ConfigError(
            f"{len(refused)} labels were refused by the archive, such as {refused[0]}",
            hint="ask the archive why, then store them there yourself",
        )
    if waiting:
        raise ConfigError(
            f"{len(waiting)} labels wait to be sent, such as {waiting[0]}",
            hint="start the server while the archive is up",
        )
    return "none waits to be sent"
