"""The three planes of a volume as a radiologist hangs them, and where a slice lies."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom
import numpy as np

# Axes towards the feet, the back and the left.
DISPLAY = "FPL"


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane of a volume whose axes are `DISPLAY`.

    `axis` runs across it. `sides` are the letters at the left and right edge, `ends` those at the
    top and bottom. `across` is the LPS axis that runs across it, `directions` the letters of its
    negative and its positive side.
    """

    name: str
    axis: int
    sides: tuple[str, str]
    ends: tuple[str, str]
    across: int
    directions: tuple[str, str]

    @property
    def within(self) -> tuple[int, int]:
        """The axes of its rows and of its columns."""
        first, second = (axis for axis in range(3) if axis != self.axis)
        return first, second

    def place(self, index: int, volume: highdicom.Volume) -> str:
        """Where the middle of a slice lies: S 12.0 mm. `volume` has the axes `DISPLAY`."""
        middle = [(size - 1) / 2 for size in volume.array.shape[:3]]
        middle[self.axis] = index
        place_mm = float((np.asarray(volume.affine) @ [*middle, 1.0])[self.across])
        return f"{self.directions[place_mm >= 0]} {abs(place_mm):.1f} mm"


PLANES = (
    Plane("axial", 0, ("R", "L"), ("A", "P"), 2, ("I", "S")),
    Plane("coronal", 1, ("R", "L"), ("S", "I"), 1, ("A", "P")),
    Plane("sagittal", 2, ("A", "P"), ("S", "I"), 0, ("R", "L")),
)
