"""`wetread deidentify` and `wetread reidentify`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from wetread.cli.options import AsJson
from wetread.errors import ERROR_CODES, InputError

Key = Annotated[Path, typer.Option("--key", help="The file with the key for pseudonyms.")]
Out = Annotated[Path, typer.Option("--out", help="A folder for the new files.")]


class Kept(StrEnum):
    """What an option retains."""

    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT = "patient"


def deidentify(
    path: Annotated[Path, typer.Argument(help="A DICOM folder, file or ZIP.")],
    out: Out,
    key: Key,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key first.")] = False,
    dates: Annotated[
        Literal["shift", "keep", "remove"],
        typer.Option(help="By one number of days for all of a patient, or as they are, or none."),
    ] = "shift",
    keep: Annotated[
        list[Kept] | None, typer.Option("--keep", help="What an option retains; repeatable.")
    ] = None,
    allow_burned_in: Annotated[
        bool, typer.Option("--allow-burned-in", help="Take pictures that may hold text, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """De-identify DICOM files by PS3.15 Annex E.

    A file that cannot be is named and left out, and the exit code is 3.
    """
    from wetread import console
    from wetread.config import DeidentifyConfig
    from wetread.deidentify.pseudonyms import make_key
    from wetread.offline.identity import deidentify_path

    if new_key:
        make_key(key)
    config = DeidentifyConfig(
        key_file=key,
        dates=dates,
        keep=tuple(each.value for each in keep or ()),
        allow_burned_in=allow_burned_in,
    )
    done = deidentify_path(path, out, config)
    rows = [(each.source, each.target or "", each.why) for each in done]
    console.show_records("de-identified", ["file", "new file", "why not"], rows, as_json=as_json)
    if any(each.target is None for each in done):
        raise typer.Exit(ERROR_CODES[InputError].exit_code)


def reidentify(
    path: Annotated[Path, typer.Argument(help="Results that came back: a folder, file or ZIP.")],
    originals: Annotated[
        Path, typer.Option("--originals", help="The images as they were before: folder or ZIP.")
    ],
    out: Out,
    key: Key,
    as_json: AsJson = False,
) -> None:
    """Put the original patient, study, UIDs and dates into results for de-identified images."""
    from wetread import console
    from wetread.offline.identity import reidentify_path

    done = reidentify_path(path, originals, out, key)
    rows = [(each.source, each.target or "") for each in done]
    console.show_records("re-identified", ["file", "new file"], rows, as_json=as_json)
