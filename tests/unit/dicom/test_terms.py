"""The codes we write, against the dictionaries that pydicom took from PS3.16."""

from __future__ import annotations

from functools import cache

import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from wetread.dicom import terms

DICTIONARIES = {"SCT": codes.SCT, "DCM": codes.DCM, "UCUM": codes.UCUM}
OURS = {name: value for name, value in vars(terms).items() if isinstance(value, Code)}
# pydicom lists neither the scheme of the one nor the bare unit of the other.
UNLISTED = {"QUALITATIVE_EVALUATIONS", "MILLILITRE", "CT_PROCEDURE", "MR_PROCEDURE", "XR_PROCEDURE"}


@cache
def known(scheme: str) -> set[tuple[str, str]]:
    """Every (value, meaning) of a coding scheme."""
    dictionary = DICTIONARIES[scheme]
    every = [getattr(dictionary, keyword) for keyword in dir(dictionary)]
    return {(one.value, one.meaning.casefold()) for one in every if isinstance(one, Code)}


@pytest.mark.parametrize("name", sorted(OURS.keys() - UNLISTED))
def test_each_code_means_what_we_say(name: str) -> None:
    code = OURS[name]
    assert (code.value, code.meaning.casefold()) in known(code.scheme_designator)


def test_millilitres_are_the_unit_in_dicoms_flow() -> None:
    """DICOM spells the litre of its rates "l", as in ml/s; UCUM has both l and L."""
    assert (f"{terms.MILLILITRE.value}/s", f"{terms.MILLILITRE.meaning} per second") in known(
        "UCUM"
    )


def test_procedures_are_those_of_cid_100() -> None:
    known = codes.cid100
    assert known.CTUnspecifiedBodyRegion == terms.CT_PROCEDURE
    assert known.MRIUnspecifiedBodyRegion == terms.MR_PROCEDURE
    assert known.XRUnspecifiedBodyRegion == terms.XR_PROCEDURE


def test_no_two_names_are_one_code() -> None:
    assert len({(code.value, code.scheme_designator) for code in OURS.values()}) == len(OURS)
