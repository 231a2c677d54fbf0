"""wetread.toml → a frozen Config.

A value is taken from, in order: the flag of the command, the environment variable
`WETREAD_<SECTION>__<KEY>` (for example `WETREAD_LISTENER__PORT=11112`), the file, the default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from wetread.config.base import Section
from wetread.config.destinations import CommitmentConfig
from wetread.config.sections import Config
from wetread.errors import ConfigError

ENVIRONMENT_PREFIX = "WETREAD_"
Moved = TypeVar("Moved", bound=Section)


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read wetread.toml. Relative paths in it are relative to its own folder.

    Raises ConfigError, naming the place in the file and what is allowed there.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="write one, see deploy/wetread.toml, or pass --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", hint="TOML strings need quotes") from error
    variables = os.environ if environment is None else environment
    return parse_config(_with_environment(document, variables), source=path)


def parse_config(document: Mapping[str, Any], *, source: Path = Path("wetread.toml")) -> Config:
    """Check a parsed document. Raises ConfigError with every fault, one a line."""
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        lines = [f"{source}: {_place(item['loc'])}{_reason(item)}" for item in error.errors()]
        raise ConfigError("\n".join(lines), hint=_hint(error)) from error
    return _resolved(config, source.parent)


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") + ": " if text else ""


def _reason(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key"
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item.get("input")
    return f"{message} (got {value!r})" if isinstance(value, str | int | float) else message


def _hint(error: ValidationError) -> str:
    unknown = [str(item["loc"][-1]) for item in error.errors() if item["type"] == "extra_forbidden"]
    keys = {name for section in _sections() for name in section.model_fields}
    for name in unknown:
        close = difflib.get_close_matches(name, keys, n=1)
        if close:
            return f"did you mean {close[0]!r}?"
    return "every key is explained in deploy/README.md"


def _sections() -> list[type[Section]]:
    found: list[type[Section]] = [Section]
    for section in found:
        found.extend(section.__subclasses__())
    return found


def _with_environment(document: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Lay WETREAD_SECTION__KEY=value over the document; a value is read as TOML where it can be."""
    merged = dict(document)
    for name, text in sorted(variables.items()):
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator:
            merged[section] = {**merged.get(section, {}), key: _environment_value(text)}
    return merged


def _environment_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _resolved(config: Config, folder: Path) -> Config:
    """Make the paths absolute, seen from the folder of the file."""

    def place(path: Path | None) -> Path | None:
        return None if path is None else (folder / path).resolve()

    def moved(section: Moved) -> Moved:
        return section.model_copy(
            update={name: place(value) for name, value in section if isinstance(value, Path)}
        )

    oidc, share = config.web.oidc, config.spool.share
    studies = config.label.studies
    if studies and not studies.startswith(("http://", "https://")):
        studies = str(place(Path(studies)))
    return config.model_copy(
        update={
            "spool": moved(config.spool).model_copy(update={"share": share and moved(share)}),
            "listener": moved(config.listener),
            "stow": moved(config.stow),
            "watch_folder": moved(config.watch_folder),
            "audit": moved(config.audit),
            "worklist": moved(config.worklist),
            "label": moved(config.label).model_copy(update={"studies": studies}),
            "viewer": moved(config.viewer),
            "web": moved(config.web).model_copy(update={"oidc": oidc and moved(oidc)}),
            "commitment": CommitmentConfig(
                callers={name: moved(to) for name, to in config.commitment.callers.items()}
            ),
            "model_repository": place(config.model_repository),
            "trusted_keys": tuple((folder / each).resolve() for each in config.trusted_keys),
            "models": {name: moved(model) for name, model in config.models.items()},
            "deidentify": {name: moved(each) for name, each in config.deidentify.items()},
            "archives": {name: moved(each) for name, each in config.archives.items()},
            "destinations": {name: moved(to) for name, to in config.destinations.items()},
        }
    )
