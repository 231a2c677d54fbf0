"""Build a TensorRT-RTX engine of an ONNX file for a GPU that is not here, as a program of its own.

    python tensorrt_build.py PACKAGES ONNX [NAME MIN OPT MAX]

PACKAGES is the folder with NVIDIA's two packages, NAME the input that has a range of shapes,
written as 1x1x224x224. Prints the ports of the network and the bytes of the engine as JSON, and
whatever TensorRT says; exits with 1 if it objects.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from pathlib import Path
from typing import Any


def load(packages: Path) -> Any:
    """NVIDIA's bindings; the parser needs the library, so it comes last."""
    libraries = (packages / "tensorrt_rtx_libs").glob("*.so*")
    for library in sorted(libraries, key=lambda path: "parser" in path.name):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(packages))
    return importlib.import_module("tensorrt_rtx_bindings")


def shape(text: str) -> tuple[int, ...]:
    return tuple(int(length) for length in text.split("x"))


def main(packages: str, onnx: str, *ranges: str) -> int:
    trt = load(Path(packages))
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(onnx):
        for number in range(parser.num_errors):
            sys.stderr.write(f"{parser.get_error(number)}\n")
        return 1
    settings = builder.create_builder_config()
    settings.num_compute_capabilities = 1
    settings.set_compute_capability(trt.ComputeCapability.SM86, 0)
    if ranges:
        profile = builder.create_optimization_profile()
        profile.set_shape(ranges[0], *(shape(text) for text in ranges[1:]))
        settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    ports = [network.get_input(0), network.get_output(0)]
    facts = {
        "ports": [[port.name, list(port.shape), port.dtype.name] for port in ports],
        "bytes": engine.nbytes if engine else 0,
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0 if engine else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
