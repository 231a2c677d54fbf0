"""A gateway reads on while its model is promoted and rolled back: nothing lost, nothing mixed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from gateway import Gateway, ReceivingAE, eventually, running_gateway, settings
from phantom import PhantomSeries, write_series
from promotable import NAME, NARROW, NOW, SHAPE, WIDE, Promotable, write_promotable
from report_content import content_items
from tiny_model import TinyModel
from triton_server import RunningTriton, only_spec
from wetread.config import Config
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.served import JOURNAL
from wetread.ledger import JobState
from wetread.models.candidate import served_identity
from wetread.models.export import build_models
from wetread.models.promote import promote, roll_back
from wetread.models.shadow import Shadows
from wetread.models.shadow_record import Outcome, ShadowRecord, read_records, records_file
from wetread.models.switch import servers_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    return write_promotable(tmp_path_factory.mktemp("fresh") / "all")


@pytest.fixture
def here(fresh: Promotable, tmp_path: Path) -> Promotable:
    return fresh.copied_to(tmp_path / "all")


def write_study(folder: Path, number: int) -> PhantomSeries:
    return write_series(
        folder / f"study{number}",
        shape=SHAPE,
        row_spacing_mm=16.0,
        column_spacing_mm=16.0,
        seed=f"study {number}",
    )


@dataclass
class Sender:
    """Sends one study after the other until it is told to stop."""

    gateway: Gateway
    folder: Path
    studies: list[PhantomSeries] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def send(self) -> PhantomSeries:
        study = write_study(self.folder, len(self.studies))
        self.studies.append(study)
        self.gateway.send(study.paths)
        return study

    def run(self) -> None:
        while not self._stop.wait(0.5):
            self.send()

    @contextmanager
    def sending(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def found_by(bounds: tuple[float, float], study: PhantomSeries) -> int:
    values = study.values()
    return int(((values > bounds[0]) & (values < bounds[1])).sum())


def results_of(pacs: ReceivingAE, study: PhantomSeries) -> dict[str, Dataset]:
    every = [dcmread(path) for path in pacs.files.values()]
    mine = [each for each in every if each.StudyInstanceUID == study.study_instance_uid]
    assert len(mine) == 3, "one SEG, one SR, one SC"
    return {str(each.Modality): each for each in mine}


ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")


def version_in(results: Mapping[str, Dataset]) -> str:
    """The one version that SEG, SR and SC of a study name."""
    segment = results["SEG"].SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    named = {str(each.TextValue) for each in content_items(results["SR"], ALGORITHM_VERSION)}
    assert named == {algorithm.AlgorithmVersion}
    assert f" {algorithm.AlgorithmVersion}." in results["OT"].ImageComments
    return str(algorithm.AlgorithmVersion)


def weights_in(results: Mapping[str, Dataset]) -> str:
    """The hash of the weights that the report names."""
    texts = {str(each.TextValue) for each in content_items(results["SR"], ALGORITHM_PARAMETERS)}
    [found] = {text.rpartition("=")[2] for text in texts}
    return found


def opened(gateway: Gateway, version: str) -> None:
    shelf = gateway.service.models
    eventually(lambda: shelf.get("tiny").identity.version == version)


def test_studies_flow_while_the_model_is_promoted_and_rolled_back(
    tmp_path: Path, here: Promotable
) -> None:
    """Each has its three results, all of one version, and the mask is that version's."""
    tiny = TinyModel(here.bundle, here.repository)
    candidate = here.candidate(*WIDE)
    first = served_identity(here.bundle, here.repository)
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        running_gateway(settings(tmp_path, tiny, {"pacs": pacs.destination})) as gateway,
    ):
        sender = Sender(gateway, tmp_path)
        gateway.job(sender.send().study_instance_uid)
        with sender.sending():
            second = promote(here.proposal(candidate), NOW, no_progress).entry.after  # type: ignore[union-attr]
            opened(gateway, "0.1.1")
            count = len(sender.studies)
            eventually(lambda: len(sender.studies) > count + 1)
            gateway.job(sender.studies[count].study_instance_uid)
            roll_back(here.bundle, here.repository, "ann", "", NOW)
            opened(gateway, "0.1.0")
        sender.send()
        jobs = [gateway.job(each.study_instance_uid) for each in sender.studies]
        for job in jobs:
            gateway.deliveries(job.job_id)
        failed = gateway.service.ledger.jobs.list(state=JobState.FAILED)
        results = [results_of(pacs, each) for each in sender.studies]
    assert failed == ()
    assert {job.attempt for job in jobs} == {1}
    bounds = {"0.1.0": NARROW, "0.1.1": WIDE}
    weights = {"0.1.0": first.weights_sha256, "0.1.1": second.weights_sha256}
    versions = [version_in(each) for each in results]
    for study, version, each in zip(sender.studies, versions, results, strict=True):
        assert int(np.count_nonzero(each["SEG"].pixel_array)) == found_by(bounds[version], study)
        assert weights_in(each) == weights[version]
    assert (versions[0], versions[-1]) == ("0.1.0", "0.1.0")
    assert "0.1.1" in versions
    assert found_by(NARROW, sender.studies[0]) != found_by(WIDE, sender.studies[0])


def test_a_gateway_that_starts_settles_a_promotion_that_was_cut_short(
    tmp_path: Path, here: Promotable, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(BaseException):
        pass

    def die(step: str) -> None:
        if step == "file configs/metadata.json":
            raise Killed

    proposal = here.proposal(here.candidate(*WIDE))
    with pytest.raises(Killed):
        promote(proposal, NOW, no_progress, reached=die)
    assert (here.bundle / JOURNAL).exists()
    tiny = TinyModel(here.bundle, here.repository)
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        running_gateway(settings(tmp_path, tiny, {"pacs": pacs.destination})) as gateway,
    ):
        study = Sender(gateway, tmp_path).send()
        gateway.deliveries(gateway.job(study.study_instance_uid).job_id)
        results = results_of(pacs, study)
    assert version_in(results) == "0.1.1"
    assert np.count_nonzero(results["SEG"].pixel_array) == found_by(WIDE, study)
    assert "finished: promoted 1" in capsys.readouterr().out


def test_servers_load_the_new_version_before_the_gateway_opens_it(
    tmp_path: Path, fresh: Promotable, triton_server: RunningTriton
) -> None:
    """With the network on Triton; both versions are served there, so no reading loses its own."""
    served = fresh.copied_to(tmp_path / "all")
    here = Promotable(served.bundle, triton_server.repository, served.data)
    tiny = TinyModel(here.bundle, here.repository, f"grpc://{triton_server.server.grpc_url}")
    build_models(here.bundle, here.repository, no_progress)
    triton_server.server.load(only_spec(tiny).name)
    try:
        with ReceivingAE(tmp_path / "pacs") as pacs:
            config = settings(tmp_path, tiny, {"pacs": pacs.destination})
            load = servers_of(config.models.values())
            with running_gateway(config) as gateway:
                sender = Sender(gateway, tmp_path)
                gateway.job(sender.send().study_instance_uid)
                with sender.sending():
                    promote(here.proposal(here.candidate(*WIDE)), NOW, no_progress, load)
                    opened(gateway, "0.1.1")
                sender.send()
                for study in sender.studies:
                    gateway.deliveries(gateway.job(study.study_instance_uid).job_id)
                results = [results_of(pacs, each) for each in sender.studies]
        bounds = {"0.1.0": NARROW, "0.1.1": WIDE}
        versions = [version_in(each) for each in results]
        for study, version, each in zip(sender.studies, versions, results, strict=True):
            assert np.count_nonzero(each["SEG"].pixel_array) == found_by(bounds[version], study)
        assert (versions[0], versions[-1]) == ("0.1.0", "0.1.1")
    finally:
        triton_server.remove(NAME)


def with_shadow(config: Config, candidate: Path) -> Config:
    model = config.models["tiny"].model_copy(update={"shadow": candidate})
    return config.model_copy(update={"models": {"tiny": model}})


def shadow_records(config: Config, count: int) -> tuple[ShadowRecord, ...]:
    path = records_file(config.spool.path, "tiny")
    return eventually(lambda: found if len(found := read_records(path)) >= count else None, 30)


def test_a_shadow_reads_what_the_model_reads_and_delivers_nothing(
    tmp_path: Path, here: Promotable
) -> None:
    tiny = TinyModel(here.bundle, here.repository)
    candidate = here.candidate(*WIDE)
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(tmp_path, tiny, {"pacs": pacs.destination})
        config = with_shadow(config, candidate)
        with running_gateway(config) as gateway:
            sender = Sender(gateway, tmp_path)
            studies = [sender.send() for _ in range(2)]
            jobs = [gateway.job(each.study_instance_uid) for each in studies]
            for job in jobs:
                gateway.deliveries(job.job_id)
            records = shadow_records(config, 2)
        results = [results_of(pacs, each) for each in studies]
    assert [version_in(each) for each in results] == ["0.1.0", "0.1.0"]
    for study, each in zip(studies, results, strict=True):
        assert np.count_nonzero(each["SEG"].pixel_array) == found_by(NARROW, study)
    assert {each.job_id for each in records} == {job.job_id for job in jobs}
    small, large = (found_by(bounds, studies[0]) for bounds in (NARROW, WIDE))
    for record in records:
        assert record.mean_dice == pytest.approx(2 * small / (small + large))


def test_a_shadow_that_hangs_or_fails_changes_nothing_for_the_model(
    tmp_path: Path, here: Promotable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first study is read and delivered while its shadow hangs; then the shadow breaks."""
    hanging, go_on = threading.Event(), threading.Event()

    def broken(_shadows: Shadows, _name: str) -> BundleModel:
        hanging.set()
        assert go_on.wait(60)
        raise RuntimeError("a fault that nobody foresaw")

    monkeypatch.setattr(Shadows, "_model", broken)
    tiny = TinyModel(here.bundle, here.repository)
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(tmp_path, tiny, {"pacs": pacs.destination})
        config = with_shadow(config, tmp_path / "nowhere")
        with running_gateway(config) as gateway:
            sender = Sender(gateway, tmp_path)
            first, second = (sender.send() for _ in range(2))
            assert hanging.wait(30)
            for study in (first, second):
                gateway.deliveries(gateway.job(study.study_instance_uid).job_id)
            go_on.set()
            records = shadow_records(config, 2)
        for study in (first, second):
            assert version_in(results_of(pacs, study)) == "0.1.0"
    assert {(each.outcome, each.reason) for each in records} == {
        (Outcome.FAILED, "a fault that nobody foresaw")
    }
