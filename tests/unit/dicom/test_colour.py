from __future__ import annotations

import pytest
from highdicom.color import CIELabColor
from hypothesis import given
from hypothesis import strategies as st

from wetread.dicom.colour import cielab_words, rgb_of_cielab

# Published CIELab values under D50 (sRGB adapted by Bradford).
KNOWN: dict[str, tuple[tuple[float, float, float], tuple[int, int, int]]] = {
    "black": ((0.0, 0.0, 0.0), (0, 0, 0)),
    "white": ((100.0, 0.0, 0.0), (255, 255, 255)),
    "mid grey": ((53.585, 0.0, 0.0), (128, 128, 128)),
    "red": ((54.29, 80.81, 69.89), (255, 0, 0)),
    "green": ((87.82, -79.27, 80.99), (0, 255, 0)),
    "blue": ((29.57, 68.30, -112.03), (0, 0, 255)),
    "yellow": ((97.61, -15.75, 93.39), (255, 255, 0)),
    "cyan": ((90.67, -50.67, -14.96), (0, 255, 255)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_colours_are_shown_as_they_are(name: str) -> None:
    cielab, rgb = KNOWN[name]
    assert rgb_of_cielab(cielab) == pytest.approx(rgb, abs=1)


def test_colours_that_no_screen_has_are_clipped() -> None:
    red, green, blue = rgb_of_cielab((60.0, 120.0, -120.0))
    assert (green, blue) == (0, 255)
    assert 0 <= red <= 255


@pytest.mark.parametrize(
    ("cielab", "words"),
    [
        ((0.0, -128.0, -128.0), [0x0000, 0x0000, 0x0000]),
        ((100.0, 127.0, 127.0), [0xFFFF, 0xFFFF, 0xFFFF]),
        ((50.0, 0.0, 0.0), [0x8000, 0x8080, 0x8080]),
        ((-5.0, -200.0, 300.0), [0x0000, 0x0000, 0xFFFF]),
    ],
)
def test_words_as_the_standard_scales_them(
    cielab: tuple[float, float, float], words: list[int]
) -> None:
    """PS3.3 C.10.7.1.1: L* 0 to 100 is 0 to FFFFH; a* and b* 0 is 8080H."""
    assert cielab_words(cielab) == words


@given(st.floats(0, 100), st.floats(-128, 127), st.floats(-128, 127))
def test_highdicom_writes_the_same_words(lightness: float, a: float, b: float) -> None:
    ours = cielab_words((lightness, a, b))
    assert ours == pytest.approx(list(CIELabColor(lightness, a, b).value), abs=1)
