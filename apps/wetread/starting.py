"""A first `wetread.toml`: what was answered, with comments, checked before it is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wetread.config import parse_config
from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.description import load_description


@dataclass(frozen=True, slots=True)
class Answers:
    """What a first settings file needs to know.

    `callers` are AE titles, or `*`. `destination` is `TITLE@host:port`, the service root of a
    STOW-RS server, or a folder. `studies` is the DICOMweb root of the archive that the viewer
    shows; empty is no viewer.
    """

    ae_title: str
    port: int
    callers: tuple[str, ...]
    destination: str
    studies: str
    spool: Path
    bundles: tuple[Path, ...]
    repository: Path


def write_settings(path: Path, answers: Answers, *, replace: bool = False) -> None:
    """Write the file.

    Raises ConfigError for answers that make no settings, or if it is there already.
    """
    if path.exists() and not replace:
        raise ConfigError(
            f"{path} is there already", hint="edit it, or pass --force to write it anew"
        )
    text = settings_text(answers)
    parse_config(tomllib.loads(text), source=path)
    write_atomically(path, [text.encode()])


def settings_text(answers: Answers) -> str:
    """The settings as TOML with comments. Raises ConfigError for a destination that is none."""
    to = "pacs" if _is_remote(answers.destination) else "results"
    models = {bundle.name: bundle for bundle in answers.bundles}
    return "\n".join(
        [
            "# Made by `wetread init`. deploy/README.md explains every key; then:",
            "#   wetread check config     are these settings whole?",
            "#   wetread doctor           has the machine what they need?",
            "#   wetread serve",
            f"model_repository = {_quoted(answers.repository)}",
            "",
            "[listener]                       # where studies come in, by C-STORE",
            f"ae_title = {_quoted(answers.ae_title)}",
            'host = "0.0.0.0"                 # all addresses of this machine',
            f"port = {answers.port}",
            f"accept_calling_ae_titles = {_listed(answers.callers)}  # who may send",
            "",
            "[spool]                          # what arrived, and results until they are delivered",
            f"path = {_quoted(answers.spool)}",
            "",
            "[retention]                      # without keep_days copies stay for ever",
            "keep_days = 30                   # after the last delivery was confirmed",
            "",
            "[metrics]                        # Prometheus text at /metrics",
            "port = 9112",
            "",
            *_viewer(answers.studies),
            *_routing(answers.bundles),
            f"[destinations.{to}]              # where results go",
            *_destination(answers.destination),
            *(line for name, bundle in models.items() for line in _model(name, bundle)),
            *(line for name, bundle in models.items() for line in _rule(name, bundle, to)),
        ]
    )


def _viewer(studies: str) -> list[str]:
    if not studies:
        return []
    return [
        "[viewer]                         # OHIF over the archive, at http://127.0.0.1:8050",
        f"studies = {_quoted(studies)}",
        "",
    ]


def _routing(bundles: Sequence[Path]) -> list[str]:
    if len(bundles) < 2:
        return []
    return [
        "[routing]",
        'match = "all"                    # every rule that a series meets; else "first"',
        "",
    ]


def _destination(text: str) -> list[str]:
    title, at, address = text.partition("@")
    if text.startswith(("http://", "https://")):
        kind = ['kind = "dicomweb"                # STOW-RS', f"url = {_quoted(text)}"]
    elif at:
        place = urlsplit(f"//{address}")
        try:
            host, port = place.hostname, place.port
        except ValueError:
            host, port = None, None
        if not (host and port and title):
            raise ConfigError(
                f"destination {text!r} is not TITLE@host:port", hint="such as PACS@10.0.0.5:104"
            )
        kind = [
            'kind = "dicom"                   # C-STORE',
            f"host = {_quoted(host)}",
            f"port = {port}",
            f"called_ae_title = {_quoted(title)}",
        ]
    else:
        kind = ['kind = "folder"                  # one file an object', f"path = {_quoted(text)}"]
    return [*kind, ""]


def _is_remote(destination: str) -> bool:
    return "@" in destination or destination.startswith(("http://", "https://"))


def _model(name: str, bundle: Path) -> list[str]:
    return [f"[models.{name}]", f"bundle = {_quoted(bundle)}", ""]


def _rule(name: str, bundle: Path, to: str) -> list[str]:
    """Takes what the bundle accepts; which body part, only the administrator knows."""
    accepts = load_description(bundle).accepts
    return [
        "[[rules]]                        # a series that meets no rule is kept, and not read",
        f"name = {_quoted(f'{name}: whatever it accepts')}",
        f"when.modality = {_listed(accepts.modality)}",
        f"when.min_instances = {accepts.min_instances}",
        '# when.body_part_examined = [""]  # narrow it: not every image is meant for it',
        f"run = {_listed([name])}",
        f"send_results_to = {_listed([to])}",
        "",
    ]


def _quoted(value: object) -> str:
    # A JSON string is a TOML string.
    return json.dumps(str(value), ensure_ascii=False)


def _listed(values: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"
