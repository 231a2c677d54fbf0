"""What a network can be built to, by the names that the command line takes."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """What a network computes in; its input and output are float32 in any case."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Target(StrEnum):
    """What runs a network."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"
