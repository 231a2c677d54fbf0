"""`wetread demo`: a real head through the whole loop on this machine, each stage shown.

A small receiving AE stands for the PACS. The study is sent to a gateway by C-STORE, read, and its
results come back to that AE.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import highdicom
import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from wetread.config import (
    AssemblyConfig,
    Conditions,
    Config,
    DicomDestination,
    EmbeddedModel,
    ListenerConfig,
    Rule,
    SpoolConfig,
)
from wetread.console import out
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.network import Peer, open_association
from wetread.dicom.volume import load_volume
from wetread.errors import InputError, WetreadError
from wetread.ledger import DeliveryState, JobRecord, JobState, StudyState
from wetread.models.export import build_models
from wetread.page import PageFacts, write_page
from wetread.reading import no_progress
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool
from wetread.service import Service
from wetread.study import ReceivedInstance
from wetread.uids import derived_uid

MODEL = "brain_mr_extraction"
PACS, SCANNER = "DEMO_PACS", "DEMO_MR"
PATIENCE_SECONDS = 280.0
_POLL_SECONDS = 0.1
_NEXT = """\
Not for diagnostic use. To read your own studies: copy deploy/wetread.toml, name your scanners
under [listener] and your PACS under [destinations], then
  wetread check config && wetread check destination pacs && wetread serve"""


def run_demo(
    *, study: Path | None, head: Path, output: Path, bundles: Path, repository: Path
) -> None:
    """Run the loop and write everything under `output`. Raises WetreadError where it breaks."""
    spool = output / "spool"
    for stale in (spool, output / "pacs", output / "study"):
        shutil.rmtree(stale, ignore_errors=True)
    with _stage("networks built and checked"):
        build_models(bundles / MODEL, repository, no_progress)
    if study is None:
        with _stage(f"Colin27 head written as an MR series to {output / 'study'}"):
            write_head_series(head, output / "study")
    instances = _one_study(study or output / "study")
    with ExitStack() as stack:
        pacs = _Pacs(output / "pacs")
        stack.callback(pacs.stop)
        config = _config(spool, pacs.port, bundles, repository)
        service = stack.enter_context(Service(config))
        with _stage(f"{len(instances)} instances sent by C-STORE to {config.listener.ae_title}"):
            _send(instances, service.listener.port)
        job = _follow(service, instances[0].study_instance_uid)
        objects = _delivered(service, job, pacs)
    _show_results(output, instances, job, objects)


@dataclass(slots=True)
class _stage:  # noqa: N801 - reads as the statement it is
    """Prints a line with a tick and the seconds that the block took."""

    what: str
    started: float = 0.0

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            _tick(self.what, time.perf_counter() - self.started)


def _tick(what: str, seconds: float) -> None:
    out.print(f"[green]✔[/green] {seconds:7.2f} s  ", end="")
    out.print(what, markup=False, highlight=False)


class _Pacs:
    """A receiving AE that keeps what it gets."""

    def __init__(self, folder: Path) -> None:
        self.received: dict[str, ReceivedInstance] = {}
        config = ListenerConfig(ae_title=PACS, port=0, accept_calling_ae_titles=("WETREAD",))
        self._listener = Listener(
            config,
            Spool(folder, 0),
            lambda instance, _: self.received.update({instance.sop_instance_uid: instance}),
        )
        self._listener.start()
        self.port = self._listener.port

    def stop(self) -> None:
        self._listener.stop()


def _config(spool: Path, pacs_port: int, bundles: Path, repository: Path) -> Config:
    return Config(
        listener=ListenerConfig(port=0, accept_calling_ae_titles=(SCANNER,)),
        spool=SpoolConfig(path=spool.resolve(), min_free_bytes=0),
        assembly=AssemblyConfig(series_quiet_seconds=1.0),
        model_repository=repository.resolve(),
        models={MODEL: EmbeddedModel(bundle=(bundles / MODEL).resolve())},
        destinations={
            "pacs": DicomDestination(
                kind="dicom", host="127.0.0.1", port=pacs_port, called_ae_title=PACS
            )
        },
        rules=(
            Rule(
                name="head MR → brain extraction",
                when=Conditions(modality=("MR",), min_instances=20),
                run=(MODEL,),
                send_results_to=("pacs",),
            ),
        ),
    )


def _one_study(folder: Path) -> tuple[ReceivedInstance, ...]:
    instances = find_instances(folder)
    uids = {instance.study_instance_uid for instance in instances}
    if len(uids) != 1:
        raise InputError(f"{folder} holds {len(uids)} studies", hint="give the folder of one study")
    return instances


def _send(instances: Sequence[ReceivedInstance], port: int) -> None:
    peer = Peer("the gateway", "127.0.0.1", port, "WETREAD", SCANNER)
    contexts = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in instances})
    with open_association(peer, [(name, [syntax]) for name, syntax in contexts]) as association:
        for instance in instances:
            answer = association.send_c_store(instance.path)
            if answer.get("Status") != 0:
                status = answer.get("Status")
                shown = "no answer" if status is None else f"status {status:04X}"
                raise WetreadError(f"{instance.path.name} was not taken: {shown}")


def _follow(service: Service, study_instance_uid: str) -> JobRecord:
    """Show each stage as the ledger has it, until the job has ended."""
    started = time.perf_counter()
    deadline = time.monotonic() + PATIENCE_SECONDS
    seen = StudyState.ARRIVING
    while time.monotonic() < deadline:
        record = service.ledger.studies.get(study_instance_uid)
        if record.failure is not None:
            raise WetreadError(record.failure.message, hint=record.failure.hint)
        if record.state == StudyState.ROUTED and seen != StudyState.ROUTED:
            _tick(f"study complete: {record.completion_reason}", record.waited_seconds or 0.0)
            _tick("routed, with a reason for every condition", time.perf_counter() - started)
            seen = record.state
        jobs = service.ledger.jobs.list(study=study_instance_uid)
        if seen == StudyState.ROUTED and not jobs:
            raise WetreadError(
                "no series met the demo's rule", hint="it wants MR with at least 20 images"
            )
        if jobs and all(job.state not in (JobState.QUEUED, JobState.RUNNING) for job in jobs):
            return _judged(jobs)
        time.sleep(_POLL_SECONDS)
    raise WetreadError(
        f"not read after {PATIENCE_SECONDS:.0f} s", hint="is this machine very busy? try again"
    )


def _judged(jobs: Sequence[JobRecord]) -> JobRecord:
    done = [job for job in jobs if job.state == JobState.DONE]
    if not done:
        failure = jobs[0].failure
        raise WetreadError(
            failure.message if failure else f"the job is {jobs[0].state}",
            hint=failure.hint if failure else "",
        )
    for stage, seconds in done[0].seconds.items():
        _tick(stage, seconds)
    return done[0]


def _delivered(service: Service, job: JobRecord, pacs: _Pacs) -> list[tuple[str, ReceivedInstance]]:
    started = time.perf_counter()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        deliveries = service.ledger.deliveries.list(job_id=job.job_id)
        if deliveries and all(each.state == DeliveryState.DELIVERED for each in deliveries):
            kinds = ", ".join(sorted(each.kind for each in deliveries))
            _tick(f"{kinds} delivered to {PACS}", time.perf_counter() - started)
            return [(each.kind, pacs.received[each.sop_instance_uid]) for each in deliveries]
        time.sleep(_POLL_SECONDS)
    raise WetreadError("the results were not delivered", hint="see `wetread deliveries list`")


def _show_results(
    output: Path,
    sent: Sequence[ReceivedInstance],
    job: JobRecord,
    objects: Sequence[tuple[str, ReceivedInstance]],
) -> None:
    page = output / "index.html"
    with _stage("page written"):
        _write_page(page, sent, job, objects)
    out.print()
    out.print(f"{job.model} found: {job.outcome}", markup=False, highlight=False)
    for kind, instance in sorted(objects):
        out.print(f"  {kind:4} {instance.path}", markup=False, highlight=False)
    out.print(f"  page {page}", markup=False, highlight=False)
    out.print()
    out.print(_NEXT, markup=False, highlight=False)


def _write_page(
    page: Path,
    sent: Sequence[ReceivedInstance],
    job: JobRecord,
    objects: Sequence[tuple[str, ReceivedInstance]],
) -> None:
    """What the PACS has now, drawn from the objects it received."""
    series = {each.series_instance_uid: each for each in read_study(sent).series}
    source = load_volume(series[job.series_instance_uid])
    segs = [instance.path for kind, instance in objects if kind == "SEG"]
    mask, volumes = source.volume.with_array(np.zeros(source.shape, np.uint8)), {}
    if segs:
        seg = highdicom.seg.segread(segs[0])
        found = seg.get_volume(combine_segments=True)
        mask = found.match_geometry(source.volume)
        voxel_ml = source.voxel_ml
        volumes = {
            str(item.SegmentLabel): int((found.array == item.SegmentNumber).sum()) * voxel_ml
            for item in seg.SegmentSequence
        }
    facts = PageFacts(
        title="wetread demo",
        model=job.model,
        volumes_ml=volumes,
        seconds=job.seconds,
        files=[(kind, instance.path) for kind, instance in sorted(objects)],
    )
    write_page(page, source.volume, mask, facts)


def write_head_series(nifti: Path, folder: Path) -> None:
    """Write a NIfTI head as a sagittal MR series, as a scanner would have acquired it.

    Slices go from the patient's left to right, rows from head to feet, columns from front to back.
    Each call makes a new study. Raises InputError if the file cannot be read.
    """
    if not nifti.is_file():
        raise InputError(
            f"{nifti}: no such file",
            hint="`make demo` fetches it; or give a DICOM folder with --study",
        )
    image = nibabel.as_closest_canonical(nibabel.load(nifti))
    array = np.asarray(image.get_fdata(dtype=np.float32))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    low, high = float(array.min()), float(array.max())
    stored = np.round((array - low) * (4095 / max(high - low, 1e-6))).astype(np.uint16)
    folder.mkdir(parents=True)
    seed = str(time.time_ns())
    for number, x in enumerate(range(stored.shape[0]), start=1):
        pixels = stored[x, ::-1, ::-1].T
        corner = affine @ (x, stored.shape[1] - 1, stored.shape[2] - 1, 1)
        spacing = (affine[2, 2], -affine[1, 1], abs(affine[0, 0]))
        dataset = _head_slice(seed, number, pixels, corner[:3], spacing)
        dataset.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def _head_slice(
    seed: str,
    number: int,
    pixels: np.ndarray,
    corner: np.ndarray,
    spacing: tuple[float, float, float],
) -> Dataset:
    rows_mm, columns_mm, slices_mm = (abs(value) for value in spacing)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = derived_uid("demo", seed, str(number))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = derived_uid("demo", seed, "study")
    dataset.SeriesInstanceUID = derived_uid("demo", seed, "series")
    dataset.FrameOfReferenceUID = derived_uid("demo", seed, "frame")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Colin^Twenty-Seven", "COLIN27"
    dataset.PatientBirthDate, dataset.PatientSex = "", "M"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = time.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = time.strftime("%H%M%S")
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.StudyDescription, dataset.SeriesDescription = "Head", "T1 sagittal"
    dataset.Modality, dataset.Manufacturer = "MR", "wetread demo"
    dataset.BodyPartExamined, dataset.PatientPosition = "HEAD", "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", "SP"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "3D"
    dataset.EchoTime, dataset.EchoTrainLength = "10", "1"
    dataset.RepetitionTime = "18"
    dataset.ImagePositionPatient = [f"{value:.6g}" for value in corner]
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.PixelSpacing = [f"{rows_mm:.6g}", f"{columns_mm:.6g}"]
    dataset.SliceThickness = f"{slices_mm:.6g}"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    return dataset
