"""When a delivery is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given

from strategies import attempts, first_retry_seconds, longest_retry_seconds, shares, statuses
from wetread.config import FolderDestination
from wetread.deliver.retry import next_try_seconds
from wetread.dicom.network import judge_store_status, status_meaning
from wetread.errors import (
    AssociationRejectedError,
    DeliveryError,
    DestinationUnavailableError,
    InputError,
    StorageError,
    StoreRefusedError,
)

CONFIG = FolderDestination.model_validate(
    {
        "kind": "folder",
        "path": "/x",
        "max_attempts": 5,
        "first_retry_seconds": 10,
        "max_retry_seconds": 100,
    }
)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (DestinationUnavailableError("gone"), True),
        (StorageError("disk"), True),
        (StoreRefusedError("full", status=0xA700), True),
        (StoreRefusedError("full", status=0xA7FF), True),
        (StoreRefusedError("mismatch", status=0xA900), False),
        (StoreRefusedError("what", status=0xC000), False),
        (StoreRefusedError("class", status=0x0122), False),
        (AssociationRejectedError("unknown"), False),
        (DeliveryError("404"), False),
        (InputError("no file"), False),
    ],
)
def test_what_is_tried_again(error, again):
    """Only what may succeed next time."""
    assert (next_try_seconds(CONFIG, 1, error, lambda: 0.5) is not None) is again


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    [(1, 10, 20), (2, 10, 40), (3, 10, 80), (4, 10, 100), (5, None, None)],
)
def test_table(attempt, shortest, longest):
    """The range doubles up to the limit; after the last try comes none."""
    error = DestinationUnavailableError("gone")
    assert next_try_seconds(CONFIG, attempt, error, lambda: 0.0) == shortest
    assert next_try_seconds(CONFIG, attempt, error, lambda: 1.0) == longest


@given(first_retry_seconds, longest_retry_seconds, attempts, shares, shares)
def test_bounds_and_growth(first, longest, attempt, chance, less):
    """A wait stays between the limits, and grows with the attempt and with the jitter."""
    config = FolderDestination.model_validate(
        {
            "kind": "folder",
            "path": "/x",
            "max_attempts": 10_000,
            "first_retry_seconds": first,
            "max_retry_seconds": longest,
        }
    )
    error = DestinationUnavailableError("gone")

    def wait(number: int, jitter: float) -> float:
        seconds = next_try_seconds(config, number, error, lambda: jitter)
        assert seconds is not None
        return seconds

    assert min(first, longest) <= wait(attempt, chance) <= longest * (1 + 1e-9)
    assert wait(attempt, chance) <= wait(attempt + 1, chance)
    assert wait(attempt, chance * less) <= wait(attempt, chance)


@given(statuses)
def test_every_status_is_judged(status):
    """Each 16 bit status either is a success or a warning, or raises with words."""
    stored = {0x0000, 0xB000, 0xB006, 0xB007, 0x0107, 0x0116}
    if status in stored:
        assert judge_store_status(status, sop_instance_uid="1.2", destination="pacs")
    else:
        with pytest.raises(StoreRefusedError, match=f"{status:04X}"):
            judge_store_status(status, sop_instance_uid="1.2", destination="pacs")
    assert status_meaning(status)


def test_no_status_is_no_success():
    """An empty answer is a time-out."""
    with pytest.raises(DestinationUnavailableError, match="no answer"):
        judge_store_status(None, sop_instance_uid="1.2", destination="pacs")
