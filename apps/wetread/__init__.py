"""wetread: a preliminary reading of medical images for the PACS."""

import sys

__version__ = "0.1.0"

# OpenVINO tells its makers of every import, and NNCF of every use, unless they do not find this.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
