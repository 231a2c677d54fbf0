"""multipart/related as a stream (RFC 2046 5.1.1, RFC 2387): only a delimiter is kept back."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from wetread.errors import InputError

_MAXIMUM_HEADER_BYTES = 16_384
# RFC 2046 allows 70; Orthanc sends 73.
_MAXIMUM_BOUNDARY_BYTES = 256


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins; `content_type` is lower case and without parameters, empty if not given."""

    content_type: str


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the part."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


Event = PartStart | PartData | PartEnd


class _State(enum.Enum):
    PREAMBLE = enum.auto()
    AFTER_DELIMITER = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()
    END = enum.auto()


def content_type_of(header: str) -> tuple[str, dict[str, str]]:
    """A Content-Type as its media type and parameters, names and type in lower case."""
    message = Message()
    message["Content-Type"] = header
    parameters = message.get_params(failobj=[])
    media_type = header.split(";")[0].strip().lower()
    return media_type, {name.lower(): value for name, value in parameters[1:]}


class MultipartReader:
    """Feed it the body of the request; it gives the events of the parts."""

    def __init__(self, boundary: str) -> None:
        if not 1 <= len(boundary) <= _MAXIMUM_BOUNDARY_BYTES:
            raise InputError(
                f"a boundary of {len(boundary)} characters", hint="RFC 2046 allows 1 to 70"
            )
        self._delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        # The first delimiter needs no line end before it.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE

    @property
    def is_complete(self) -> bool:
        """Whether the closing delimiter has come."""
        return self._state is _State.END

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events in `data`. Raises InputError if the header of a part has no end."""
        self._buffer += data
        progress = True
        while progress:
            if self._state is _State.PREAMBLE:
                progress = self._skip_preamble()
            elif self._state is _State.AFTER_DELIMITER:
                progress = self._after_delimiter()
            elif self._state is _State.HEADERS:
                content_type = self._headers()
                progress = content_type is not None
                if content_type is not None:
                    yield PartStart(content_type)
            elif self._state is _State.BODY:
                yield from self._body()
                progress = self._state is not _State.BODY
            else:
                self._buffer.clear()
                return

    def _skip_preamble(self) -> bool:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            del self._buffer[: -len(self._delimiter)]
            return False
        self._take(at + len(self._delimiter))
        self._state = _State.AFTER_DELIMITER
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            self._state = _State.END
            return True
        at = self._buffer.find(b"\r\n")
        if at < 0:
            self._check_header_length()
            return False
        # The line end stays: it is half of the empty line if the part has no headers.
        self._take(at)
        self._state = _State.HEADERS
        return True

    def _headers(self) -> str | None:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            self._check_header_length()
            return None
        lines = self._take(at + 4).decode("latin-1").split("\r\n")
        self._state = _State.BODY
        # An empty body ends with the line end that also ended the headers.
        if self._buffer.startswith(self._delimiter[2:]):
            self._buffer[:0] = b"\r\n"
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-type":
                return content_type_of(value)[0]
        return ""

    def _body(self) -> Iterator[Event]:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            if at:
                yield PartData(self._take(at))
            self._take(len(self._delimiter))
            self._state = _State.AFTER_DELIMITER
            yield PartEnd()
            return
        certain = len(self._buffer) - len(self._delimiter) + 1
        if certain > 0:
            yield PartData(self._take(certain))

    def _check_header_length(self) -> None:
        if len(self._buffer) > _MAXIMUM_HEADER_BYTES:
            raise InputError(
                f"the header of a part is longer than {_MAXIMUM_HEADER_BYTES} bytes",
                hint="check the boundary that the sender uses",
            )

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
