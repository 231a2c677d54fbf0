"""Files that Triton's Python runs: each is copied to `<model>/<version>/model.py`."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILE = Path(__file__).with_name("network.py")
READING_FILE = Path(__file__).with_name("reading.py")
# Where a reading's version has the configuration of its bundle.
BUNDLE_FOLDER = "bundle"
