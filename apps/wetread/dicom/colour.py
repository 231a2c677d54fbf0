"""CIELab, in which DICOM names colours, to DICOM's words and to the screen."""

from __future__ import annotations

import numpy as np

RGB = tuple[int, int, int]

D50 = np.array([0.9642, 1.0, 0.8249])
# XYZ under D50 (the ICC profile connection space of PS3.3 C.10.7.1.1) to linear sRGB, Bradford.
SRGB_OF_XYZ = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def cielab_words(cielab: tuple[float, float, float]) -> list[int]:
    """L*, a*, b* as three unsigned 16-bit numbers (PS3.3 C.10.7.1.1)."""
    lightness, a, b = cielab
    words = (lightness / 100 * 65535, (a + 128) / 255 * 65535, (b + 128) / 255 * 65535)
    return [min(65535, max(0, round(word))) for word in words]


def rgb_of_cielab(cielab: tuple[float, float, float]) -> RGB:
    """The sRGB colour, 0..255, clipped to what a screen can show."""
    lightness, a, b = cielab
    y = (lightness + 16) / 116
    curve = np.array([y + a / 500, y, y - b / 200])
    linear_part = 3 * (6 / 29) ** 2 * (curve - 4 / 29)
    linear = SRGB_OF_XYZ @ (D50 * np.where(curve > 6 / 29, curve**3, linear_part))
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(value) for value in np.round(255 * encoded))
    return red, green, blue
