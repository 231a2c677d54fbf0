"""The codes of structures and lesions are in the dictionaries of PS3.16."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from wetread.phantom import codes as ours
from wetread.phantom.chest import build_chest
from wetread.phantom.codes import segments_of
from wetread.phantom.head import build_head
from wetread.phantom.recipe import LESION_CLASSES

EVERY = {name: value for name, value in vars(ours).items() if isinstance(value, Code)}
KNOWN = {
    (one.value, one.meaning.casefold())
    for one in (getattr(codes.SCT, keyword) for keyword in dir(codes.SCT))
    if isinstance(one, Code)
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_code_means_what_we_say(name: str) -> None:
    assert (EVERY[name].value, EVERY[name].meaning.casefold()) in KNOWN


@pytest.mark.parametrize("kind", LESION_CLASSES)
def test_every_structure_of_every_anatomy_has_a_code(kind: str) -> None:
    build = {"head": build_head, "chest": build_chest}[kind]
    for lesion in LESION_CLASSES[kind]:
        anatomy = build(np.random.default_rng(0), lesion)
        segments = segments_of(anatomy)
        assert [one.tracking_id for one in segments] == list(anatomy.names)
        assert [one.label_value for one in segments] == list(range(1, len(segments) + 1))
        assert len({one.cielab for one in segments}) == len(segments)
