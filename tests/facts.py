"""Facts about received instances, series and studies, made up for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from wetread.study import Completion, ReceivedInstance, Series, Study

STUDY = "1.2.3"


def instance(
    number: int = 1,
    *,
    at: float = 1_000_000.0,
    study: str = STUDY,
    series: str = "1.2.3.4",
    caller: str = "CT_ROOM1",
) -> ReceivedInstance:
    """An instance that came at `at` seconds since 1970."""
    uid = f"{series}.{number}"
    return ReceivedInstance(
        path=Path(f"/spool/{uid}.dcm"),
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title=caller,
        called_ae_title="WETREAD",
        received_at=datetime.fromtimestamp(at, UTC),
    )


def series(uid: str = "1.2.3.4", count: int = 30, **attributes: object) -> Series:
    """A series of `count` instances with the given attributes."""
    return Series(
        study_instance_uid=STUDY,
        series_instance_uid=uid,
        instances=tuple(instance(number, series=uid) for number in range(count)),
        **attributes,
    )


def study(*all_series: Series, **attributes: object) -> Study:
    """A study of those series, sent by CT_ROOM1."""
    return Study(
        study_instance_uid=STUDY,
        generation=1,
        calling_ae_title="CT_ROOM1",
        series=all_series,
        completion=Completion("study quiet for 120 s", 120.0, datetime.now(UTC)),
        **attributes,
    )
