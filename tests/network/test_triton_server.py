"""A real Triton server: starts, answers, fails and stops as it should."""

from __future__ import annotations

import pytest

from triton_server import RunningTriton, only_spec
from wetread.triton.parity import check_parity


@pytest.mark.parametrize("which", ["segmenter", "classifier"])
def test_a_served_network_answers_as_it_does_here(triton_server: RunningTriton, which: str) -> None:
    spec = only_spec(getattr(triton_server, which))
    assert check_parity(triton_server.server, spec, triton_server.repository) == 0.0
