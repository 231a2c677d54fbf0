"""What the params of a request may hold: named keys of known types, never a way to a file.

MONAI Label merges params into the request itself, so that `image`, `bundle_path` or a file of
weights can be set by anybody who may ask for a mask. Here every key is one of a list.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lib.errors import NotAllowedError

Check = Callable[[Any], bool]
MOST_POINTS = 10_000
_NAME = re.compile(r"[\w .:()+-]{0,128}")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")


def is_flag(value: Any) -> bool:
    """A boolean."""
    return isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number, not a boolean."""
    return isinstance(value, (int, float)) and not is_flag(value) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """An integer, not a boolean."""
    return isinstance(value, int) and not is_flag(value)


def is_name(value: Any) -> bool:
    """Short, and no path."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and ".." not in value


def is_text(value: Any) -> bool:
    """Short; what a person has named."""
    return isinstance(value, str) and len(value) <= 128 and value.isprintable()


def is_points(value: Any) -> bool:
    """A list of voxels, each a list of two or three numbers."""
    return (
        isinstance(value, list)
        and len(value) <= MOST_POINTS
        and all(
            isinstance(each, list) and len(each) in (2, 3) and all(map(is_number, each))
            for each in value
        )
    )


def is_numbers(value: Any) -> bool:
    """A short list of numbers."""
    return isinstance(value, list) and len(value) <= 1000 and all(map(is_number, value))


def is_label_info(value: Any) -> bool:
    """What viewers say of the values of a label: a list of objects."""
    return isinstance(value, list) and len(value) <= 256 and all(map(_is_plain, value))


def one_of(*values: Any) -> Check:
    """Exactly one of those."""
    return lambda value: any(value == each and type(value) is type(each) for each in values)


def is_nothing(value: Any) -> bool:
    """A null."""
    return value is None


def either(*checks: Check) -> Check:
    """At least one of them holds."""
    return lambda value: any(check(value) for check in checks)


# Both viewers send these beside the config of a task.
ANY = {"client_id": either(is_text, is_nothing)}
INFER = {
    **ANY,
    "result_extension": one_of(".nrrd", ".seg.nrrd", ".nii.gz", ".nii"),
    "result_dtype": one_of("uint8", "uint16", "int16", "int32", "float32"),
    "result_compress": is_flag,
    "restore_label_idx": is_flag,
    "label_prompt": either(is_numbers, is_nothing),
    "foreground": is_points,
    "background": is_points,
    "roi": either(is_numbers, is_points),
    "slice": either(is_number, is_nothing),
    "reset_state": is_flag,
    "label_info": is_label_info,
    "selected_label_name": is_text,
}
BATCH = {
    **ANY,
    "max_batch_size": is_whole,
    # A bundle's configuration is parsed anew for each image, which only one may do at a time.
    "max_workers": one_of(1),
    "multi_gpu": one_of(False),
    "gpus": one_of("all"),
    "save_label": one_of(True),
    # What a model proposes must never count as what a reader drew.
    "label_tag": one_of("original"),
}
LABEL = {
    **ANY,
    "label_info": is_label_info,
    "model": is_name,
    "seconds_spent": is_number,
}


def parsed(text: str, what: str) -> dict[str, Any]:
    """The JSON object in a form's field. Raises NotAllowedError."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise NotAllowedError(f"{what} is no JSON: {error}", hint="send an object") from error
    if not isinstance(values, dict):
        raise NotAllowedError(f"{what} is no JSON object", hint='send {"key": value}')
    return values


def checked(
    values: Mapping[str, Any], allowed: Mapping[str, Check], what: str = "params"
) -> dict[str, Any]:
    """The values, if each is allowed. Raises NotAllowedError with the key."""
    for key, value in values.items():
        check = allowed.get(key)
        if check is None:
            raise NotAllowedError(
                f"{what}.{str(key)[:64]} may not be set",
                hint=f"known: {', '.join(sorted(allowed))}",
            )
        if not check(value):
            raise NotAllowedError(
                f"{what}.{key} may not be {json.dumps(value)[:80]}",
                hint="see the configuration of the task in /info/",
            )
    return dict(values)


def of_config(config: Mapping[str, Any]) -> dict[str, Check]:
    """A task's own configuration, as /info/ shows it: each key with a value like its default."""
    return {key: _like(key, default) for key, default in config.items()}


def of_labels(labels: object) -> dict[str, Check]:
    """Clicks by the name of a label (DeepEdit), and `label`, the one that is drawn."""
    names = [str(each) for each in labels] if isinstance(labels, (list, tuple, dict)) else []
    return {**dict.fromkeys(names, is_points), "label": one_of(*names, "background")}


def _like(key: str, default: Any) -> Check:
    if key == "device":
        listed = default if isinstance(default, list) else [default]
        return either(one_of(*listed), _is_device)
    if isinstance(default, list):
        return one_of(*default)
    if is_flag(default):
        return is_flag
    if is_whole(default):
        return is_whole
    return is_number if is_number(default) else either(is_name, one_of(default))


def _is_device(value: Any) -> bool:
    return isinstance(value, str) and _DEVICE.fullmatch(value) is not None


def _is_plain(value: Any) -> bool:
    """A small object."""
    return isinstance(value, dict) and len(json.dumps(value)) <= 10_000
