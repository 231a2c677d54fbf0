"""Who may send, by title and by address."""

from __future__ import annotations

import pytest

from wetread.receive.callers import Caller, is_allowed

CASES = [
    ((), "MR1", "10.1.0.5", False),
    (("*",), "MR1", "10.1.0.5", True),
    (("MR1",), "MR1", "192.0.2.1", True),
    (("MR1",), "MR2", "192.0.2.1", False),
    (("MR1@10.1.0.5",), "MR1", "10.1.0.5", True),
    (("MR1@10.1.0.5",), "MR1", "10.1.0.6", False),
    (("MR1@10.1.0.5",), "MR1", "::ffff:10.1.0.5", True),
    (("*@10.1.0.0/16",), "ANY", "10.1.255.255", True),
    (("*@10.1.0.0/16",), "ANY", "10.2.0.0", False),
    (("MR1@fd00::/8",), "MR1", "fd12::1", True),
    (("MR1@fd00::/8",), "MR1", "fe80::1%eth0", False),
    (("MR1@10.1.0.5", "MR1@10.1.0.6"), "MR1", "10.1.0.6", True),
    # An AE title may hold an @ itself (PS3.5 6.2).
    (("MR@WARD",), "MR@WARD", "10.1.0.5", True),
    (("MR@WARD@10.1.0.5",), "MR@WARD", "10.1.0.5", True),
    (("MR@WARD@10.1.0.5",), "MR@WARD", "10.1.0.7", False),
]


@pytest.mark.parametrize(("entries", "title", "address", "allowed"), CASES)
def test_a_caller_is_let_in_by_title_and_address(
    entries: tuple[str, ...], title: str, address: str, allowed: bool
) -> None:
    callers = [Caller.parse(entry) for entry in entries]
    assert is_allowed(callers, title, address) is allowed
