"""TensorRT plans: built by trtexec on the kind of GPU that will run them, and judged there too.

None of this has run on a GPU yet; what trtexec is told, and what is made of its answers, is tested
with a stand-in.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wetread.errors import ConfigError, InferenceError, StorageError
from wetread.files import aside
from wetread.infer.base import Progress
from wetread.infer.description import NetworkSpec, load_networks
from wetread.models.export import build_models
from wetread.models.original import load_original
from wetread.models.parity import (
    FLOAT32,
    REDUCED,
    Batch,
    check_figures,
    compare,
    fixed_batches,
    questions_of,
)
from wetread.models.record import BuiltModel, install_form
from wetread.models.serving import PLAN_PREFIX, kept_versions, profile_for, write_serving
from wetread.models.targets import Precision
from wetread.triton.configs import (
    CACHE,
    CONTAINER,
    CONTAINER_TAG,
    TENSORRT_MAJOR,
    WORKSPACE_BYTES,
    Profile,
    shape_text,
)

# Where NVIDIA's containers have it, beside the PATH.
_USUAL_PLACE = Path("/usr/src/tensorrt/bin/trtexec")
# Set in the container to its release, as 25.12.
_RELEASE = "NVIDIA_TRITON_SERVER_VERSION"
_LONGEST_SECONDS = 2 * 3600.0
_RAW_OUTPUT = re.compile(r"\.output\.(?P<shape>\d+(?:\.\d+)*)\.[A-Za-z]\w*\.raw$")


@dataclass(frozen=True, slots=True)
class Builder:
    """trtexec, on a GPU of that compute capability (8.6 is "86")."""

    trtexec: Path
    capability: str
    cache: Path = Path(CACHE)

    @property
    def form(self) -> str:
        """By which a plan is recorded, and named."""
        return f"{PLAN_PREFIX}{self.capability}"

    def build(self, spec: NetworkSpec, profile: Profile, source: Path, plan: Path) -> None:
        """Write the plan of an ONNX file. Raises InferenceError with what trtexec says."""
        timing = self.cache / spec.name / f"trtexec_{self.form}.timing"
        _make_folder(timing.parent)
        shapes = {"min": profile.shortest, "opt": profile.usual, "max": profile.longest}
        ranges = [
            f"--{name}Shapes={spec.input.name}:{shape_text(shape)}"
            for name, shape in shapes.items()
            if profile.is_dynamic
        ]
        self._call(
            spec,
            plan.parent,
            f"--onnx={source}",
            f"--saveEngine={plan}",
            *ranges,
            f"--memPoolSize=workspace:{WORKSPACE_BYTES >> 20}",
            f"--timingCacheFile={timing}",
            # The graph's own types decide; TensorRT 11 knows nothing else.
            *(["--stronglyTyped"] if TENSORRT_MAJOR <= 10 else []),
            # Its products have 10 bits of 23, and float32 is to be float32.
            "--noTF32",
            "--skipInference",
        )

    def run(self, spec: NetworkSpec, profile: Profile, plan: Path, batch: Batch) -> Batch:
        """One forward. Raises InferenceError if trtexec fails or gives no float32."""
        given = plan.with_name("input.raw")
        for old in plan.parent.glob("*.raw"):
            old.unlink()
        batch.tofile(given)
        shape = f"--shapes={spec.input.name}:{shape_text(batch.shape)}"
        self._call(
            spec,
            plan.parent,
            f"--loadEngine={plan}",
            f"--loadInputs={spec.input.name}:{given}",
            *([shape] if profile.is_dynamic else []),
            "--iterations=1",
            "--warmUp=0",
            "--duration=0",
            "--dumpRawBindingsToFile",
        )
        return _output(spec, plan.parent)

    def _call(self, spec: NetworkSpec, folder: Path, *arguments: str) -> None:
        try:
            done = subprocess.run(
                [str(self.trtexec), *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            fault = f"no end after {_LONGEST_SECONDS:.0f} s"
        else:
            errors = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line]
            fault = (errors or [f"exit {done.returncode}"])[-1] if done.returncode else ""
        if fault:
            raise InferenceError(
                f"trtexec failed on {spec.name}: {fault}",
                hint=f"run it by hand: {self.trtexec} {' '.join(arguments)}",
            )


def find_builder() -> Builder:
    """trtexec and the GPU of this machine.

    Raises ConfigError if it is not the container that the plans are for, or has no GPU, or several
    kinds.
    """
    found = shutil.which("trtexec") or (str(_USUAL_PLACE) if _USUAL_PLACE.is_file() else None)
    release = os.environ.get(_RELEASE, "")
    wanted = CONTAINER_TAG.partition("-")[0]
    if found is None or release != wanted:
        lacks = "there is no trtexec here" if found is None else f"this is release {release or '?'}"
        raise ConfigError(
            f"TensorRT plans are built inside {CONTAINER}: {lacks}",
            hint="on the machine with the GPU, as deploy/README.md shows",
        )
    return Builder(Path(found), _capability())


def _capability() -> str:
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        kinds: set[str] = set()
    else:
        kinds = set() if done.returncode else {line.strip() for line in done.stdout.splitlines()}
    if len(kinds) != 1:
        seen = ", ".join(sorted(kinds)) or "none"
        raise ConfigError(
            f"a plan is for one kind of GPU; compute capabilities here: {seen}",
            hint="give the container one GPU: docker run --gpus device=0",
        )
    return kinds.pop().replace(".", "")


def build_plans(
    bundle: Path, repository: Path, builder: Builder, progress: Progress
) -> list[BuiltModel]:
    """Build the networks of a bundle, and of the newest version of each a plan for this GPU.

    It is made of the form in half precision if there is one, else of the network in float32, and
    compared with torch on the fixed inputs within the limits of that.

    Raises as `build_models`, and ModelContractError for a plan that is too far from the network in
    torch: it is not installed. InferenceError if trtexec fails.
    """
    build_models(bundle, repository, progress)
    networks = load_networks(bundle)
    built = []
    for index, spec in enumerate(networks.values()):
        progress(f"{spec.name} {builder.form}", index / len(networks))
        built.append(_with_plan(bundle, spec, repository, builder))
        write_serving(bundle, spec, repository)
    progress("done", 1.0)
    return built


def _with_plan(bundle: Path, spec: NetworkSpec, repository: Path, builder: Builder) -> BuiltModel:
    built = kept_versions(spec, repository)[-1]
    half = built.forms.get(Precision.FP16)
    source, limits = (half.path, REDUCED) if half and half.is_whole else (built.path, FLOAT32)
    profile = profile_for(bundle, spec)
    questions = questions_of(load_original(bundle, spec), fixed_batches(spec, profile, within=True))
    with aside(repository, "build") as folder:
        plan = folder / f"model_{builder.form}.plan"
        builder.build(spec, profile, source.absolute(), plan)

        def run(batch: Batch) -> Batch:
            return builder.run(spec, profile, plan, batch)

        figures = compare(spec, "a TensorRT plan", run, questions)
        check_figures(spec, "a TensorRT plan", figures, limits)
        return install_form(built, builder.form, plan, figures)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make {folder}: {error.strerror}",
            hint="mount a folder there that can be written, see deploy/README.md",
        ) from error


def _output(spec: NetworkSpec, folder: Path) -> Batch:
    """What trtexec wrote of the network's one output: its name says the shape."""
    found: Sequence[Path] = sorted(folder.glob("*.output.*.raw"))
    matches = [(path, _RAW_OUTPUT.search(path.name)) for path in found]
    named = [(path, match) for path, match in matches if match is not None]
    if len(named) != 1:
        raise InferenceError(
            f"trtexec wrote {len(named)} outputs of {spec.name}, not one",
            hint="let the network give its one answer",
        )
    path, match = named[0]
    shape = [int(length) for length in match["shape"].split(".")]
    values = np.fromfile(path, np.float32)
    if values.size != np.prod(shape):
        raise InferenceError(
            f"trtexec's output {path.name} has {values.nbytes} bytes, which are no {shape} float32",
            hint="build the ONNX with outputs in float32",
        )
    return values.reshape(shape)
