from __future__ import annotations

import pytest

from phantom import write_series
from readings import Reading, reading_of, result_of, segment, two_part_labelmap


@pytest.fixture(scope="session")
def one_part(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """One segment on a shuffled classic CT whose frames do not fill whole bytes."""
    series = write_series(
        tmp_path_factory.mktemp("one"), shape=(14, 31, 27), slice_spacing_mm=8.0, shuffled=True
    )
    return reading_of(series, result_of(series.mask()))


@pytest.fixture(scope="session")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """Two segments on a classic CT."""
    series = write_series(tmp_path_factory.mktemp("two"), rescale_slopes=(1.0, 0.5, 2.0))
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    return reading_of(series, result_of(two_part_labelmap(series), segments))


@pytest.fixture(scope="session")
def enhanced(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """Two segments on one enhanced MR image whose frames are out of order."""
    series = write_series(
        tmp_path_factory.mktemp("enhanced"), modality="MR", enhanced=True, shuffled=True
    )
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    return reading_of(series, result_of(two_part_labelmap(series), segments))


@pytest.fixture(scope="session", params=["one_part", "two_parts", "enhanced"])
def any_reading(request: pytest.FixtureRequest) -> Reading:
    """Each of the readings above in turn."""
    reading: Reading = request.getfixturevalue(request.param)
    return reading
