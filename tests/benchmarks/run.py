"""Every benchmark, one after the other, as one Markdown document.

python tests/benchmarks/run.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import load, loop, receive, segmentation
from wetread import __version__

BENCHMARKS: dict[str, Callable[[Path, int], str]] = {
    "Receive": receive.report,
    "Load": load.report,
    "Segmentation": segmentation.report,
    "The loop": loop.report,
}


def main() -> None:
    """Measure and print, each part as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="1 round of each, for a first look")
    rounds = 1 if parser.parse_args().quick else 5
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    print(f"# wetread {__version__} on {machine}\n\nMedian of {rounds} rounds [lowest-highest].")
    for name, report in BENCHMARKS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n## {name}\n\n{report(Path(folder), rounds)}", flush=True)


if __name__ == "__main__":
    main()
