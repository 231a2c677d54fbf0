"""Command sets of DIMSE messages (PS3.7 chapter 6.3.1 and Annex E): implicit little endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
MAXIMUM_COMMAND_BYTES = 1 << 16
_NO_DATA_SET = 0x0101
_RESPONSE = 0x8000

_AFFECTED_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID = 0x0002, 0x0100, 0x0110
_RESPONDED_TO, _DATA_SET_TYPE, _STATUS, _ERROR_COMMENT = 0x0120, 0x0800, 0x0900, 0x0902
_AFFECTED_SOP_INSTANCE = 0x1000
_REQUESTED_SOP_CLASS, _REQUESTED_SOP_INSTANCE = 0x0003, 0x1001
# Event Type ID and Action Type ID
_TYPE_OF = {N_EVENT_REPORT_RQ: 0x1002, N_ACTION_RQ: 0x1008}


@dataclass(frozen=True, slots=True)
class Command:
    """A request: what is asked, about which instance, and whether a data set follows.

    `type_id` is the kind of event or action, 0 for other requests.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    type_id: int = 0

    @property
    def is_request(self) -> bool:
        """Whether it waits for an answer."""
        return not self.field & _RESPONSE and self.field != 0x0FFF


def parse_command(data: bytes | bytearray) -> Command:
    """Raises ValueError if the bytes are no command set."""
    elements = _elements(data)
    try:
        field = _number(elements[_COMMAND_FIELD])
        return Command(
            field=field,
            message_id=_number(elements.get(_MESSAGE_ID, b"\0\0")),
            has_data_set=_number(elements[_DATA_SET_TYPE]) != _NO_DATA_SET,
            sop_class_uid=_uid(elements, _AFFECTED_SOP_CLASS, _REQUESTED_SOP_CLASS),
            sop_instance_uid=_uid(elements, _AFFECTED_SOP_INSTANCE, _REQUESTED_SOP_INSTANCE),
            type_id=_number(elements.get(_TYPE_OF.get(field, -1), b"\0\0")),
        )
    except KeyError as error:
        raise ValueError(f"command element (0000,{error.args[0]:04X}) is missing") from error
    except struct.error as error:
        raise ValueError("a command element is too short") from error


def _elements(data: bytes | bytearray) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, position)
        position += 8
        if group != 0 or position + length > len(data):
            raise ValueError(f"no command element at byte {position - 8}")
        elements[element] = bytes(data[position : position + length])
        position += length
    return elements


def _number(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def _uid(elements: dict[int, bytes], affected: int, requested: int) -> str:
    return _text(elements.get(affected) or elements.get(requested, b""))


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def response_to(command: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers `command`; a comment has at most 64 characters (LO)."""
    elements = [
        _ui(_AFFECTED_SOP_CLASS, command.sop_class_uid),
        _us(_COMMAND_FIELD, command.field | _RESPONSE),
        _us(_RESPONDED_TO, command.message_id),
        _us(_DATA_SET_TYPE, _NO_DATA_SET),
        _us(_STATUS, status),
        _lo(_ERROR_COMMENT, comment),
        _ui(_AFFECTED_SOP_INSTANCE, command.sop_instance_uid),
        *([_us(_TYPE_OF[command.field], command.type_id)] if command.type_id else []),
    ]
    body = b"".join(elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, value: bytes, pad: bytes) -> bytes:
    value += pad * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def _us(number: int, value: int) -> bytes:
    return _element(number, struct.pack("<H", value), b"")


def _ui(number: int, uid: str) -> bytes:
    return _element(number, uid.encode("ascii", "replace"), b"\0") if uid else b""


def _lo(number: int, text: str) -> bytes:
    # A backslash would make two values of one (PS3.5 6.2).
    plain = text.replace("\\", "/").encode("ascii", "replace")[:64]
    return _element(number, plain, b" ") if plain else b""
