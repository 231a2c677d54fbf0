"""Files that Triton's Python runs: each is copied to `<model>/<version>/model.py`."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILE = Path(__file__).with_name("network.py")
