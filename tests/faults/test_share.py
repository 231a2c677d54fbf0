"""Machines with disks of their own: what one took in, another reads, from the bucket they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.ward import DELIVERED, Ward, ward_in
from gateway import eventually
from network.neighbours import free_port, relayed
from phantom import PhantomSeries
from postgres import PostgresServer
from s3 import S3Server, running_s3
from tiny_model import TinyModel

pytestmark = pytest.mark.timeout(120)


@contextmanager
def ward_with_a_bucket(
    folder: Path, tiny: TinyModel, postgres: PostgresServer, server: S3Server
) -> Iterator[Ward]:
    """A gateway that reads nothing, and a worker; only one of them runs at a time, each on a disk
    of its own under the same path."""
    secret = folder / "secret"
    secret.write_text("letmein", encoding="ascii")
    share = server.settings(secret_key_file=str(secret), timeout_seconds=2.0)
    spool = {"path": str(folder / "spool"), "min_free_bytes": 0, "share": share}
    with ward_in(
        folder, tiny, database=postgres.new_database(), workers=("one",), gateway_jobs=0,
        spool=spool,
    ) as ward:  # fmt: skip
        yield ward


def take_in(ward: Ward) -> PhantomSeries:
    """What a gateway does whose machine then burns down."""
    ward.gateway.start()
    study = ward.send_a_study()
    ward.wait_for(study, "job queued")
    ward.gateway.kill()
    (ward.folder / "spool").rename(ward.folder / "burnt")
    return study


def test_a_worker_reads_what_lies_on_no_disk_of_its_own(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """And another one delivers what that worker wrote."""
    with running_s3(tmp_path) as server, ward_with_a_bucket(
        tmp_path, tiny_ct, postgres, server
    ) as ward:  # fmt: skip
        study = take_in(ward)
        ward.processes[1].start()
        ward.wait_for(study, DELIVERED)
        ward.kill()
        ward.check()
        assert ward.starts(study) == 1
        assert len(server.keys()) == len(study.paths) + 3


def test_while_the_bucket_is_away_work_waits_for_it(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """It counts as no attempt, and goes on by itself."""
    port = free_port()
    with running_s3(tmp_path) as server, ward_with_a_bucket(
        tmp_path, tiny_ct, postgres, S3Server(f"http://127.0.0.1:{port}")
    ) as ward:  # fmt: skip
        behind = int(server.url.rpartition(":")[2])
        with relayed(port, behind):
            study = take_in(ward)
        worker = ward.processes[1]
        worker.start()
        eventually(worker.log.is_file, seconds=60)
        eventually(lambda: "the bucket does not answer" in worker.log.read_text(), seconds=60)
        assert ward.stage(study) == "job queued"
        with relayed(port, behind):
            ward.wait_for(study, DELIVERED)
            [job] = ward.ledger.jobs.list(study=study.study_instance_uid)
        assert (job.attempts_since_retry, ward.starts(study)) == (0, 1)
        ward.kill()
        ward.check()
