"""What a request may name: never a path."""

from __future__ import annotations

import re

from lib.errors import NotAllowedError

FINAL, ORIGINAL = "final", "original"
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def safe_tag(tag: str) -> str:
    """The tag. Raises NotAllowedError for anything but small letters, digits, `_` and `-`."""
    if not _TAG.fullmatch(tag):
        raise NotAllowedError(
            f"the tag {tag!r}", hint=f"small letters and digits, such as {FINAL} or {ORIGINAL}"
        )
    return tag


def safe_id(image_id: str) -> str:
    """The id of an image. Raises NotAllowedError for what could be a path."""
    if not _ID.fullmatch(image_id) or ".." in image_id:
        raise NotAllowedError(
            f"the image {image_id[:64]!r}", hint="letters, digits, '.', '_' and '-', at most 128"
        )
    return image_id
