"""A running gateway removes what was delivered, and reads it anew when it comes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import CALLER, ReceivingAE, eventually, running_gateway, settings
from phantom import write_series
from tiny_model import TinyModel
from wetread.errors import LedgerError

pytestmark = pytest.mark.timeout(60)


def test_a_delivered_study_is_removed_and_read_anew_when_it_comes_again(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    study = series.study_instance_uid
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(
            tmp_path,
            tiny_ct,
            {"pacs": pacs.destination},
            assembly={"series_quiet_seconds": 0.3, "study_quiet_seconds": 0.3},
            retention={"keep_days": 0, "check_seconds": 0.1},
            listener={"port": 0, "accept_calling_ae_titles": [CALLER]},
        )
        with running_gateway(config) as gateway:
            ledger, spool = gateway.service.ledger, gateway.service.spool
            gateway.send(series.paths)
            eventually(lambda: any(each.ended_at for each in ledger.removals.of_study(study)))
            assert list(spool.received_folder.rglob("*.dcm")) == []
            assert list(spool.results_folder.rglob("*.dcm")) == []
            [first] = ledger.jobs.list(study=study)
            with pytest.raises(LedgerError, match="removed from the spool"):
                ledger.jobs.retry(first.job_id)
            gateway.send(series.paths)
            eventually(lambda: sum(bool(e.ended_at) for e in ledger.removals.of_study(study)) == 2)
            jobs = ledger.jobs.list(study=study)
            history = [each.stage for each in ledger.studies.history(study)]
    assert {each.generation for each in jobs} == {1, 2}
    delivered = [uid for uid, _ in pacs.stores]
    assert len(set(delivered)) == len(delivered) == 6
    assert history.count("retain") == 2
    assert history.count("receive") == 2
