"""Holds the verdicts on a folder of odd DICOM files to `torture.csv`: `python torture.py DIR`.

The files themselves are not in git. Each is judged twice: alone, and as part of the whole folder.
`--write` writes the table anew; read every line of it then.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from wetread.logs import configure_logs
from wetread.offline.checking import check_data

TABLE = Path(__file__).with_name("torture.csv")
COLUMNS = ["file", "alone", "in its series", "because"]
# What lies beside the files and is none of them.
NOT_OURS = {".md", ".csv", ".txt"}


def judged(folder: Path) -> list[list[str]]:
    """The rows of the table for a folder; the reason is the one in the series, without its hint."""
    rows = []
    for each in check_data(folder):
        if each.file.suffix not in NOT_OURS:
            [alone] = check_data(folder / each.file)
            fact = each.reason.partition("; ")[0]
            rows.append([str(each.file), str(alone.verdict), str(each.verdict), fact])
    return rows


def main(folder: Path, *, write: bool) -> int:
    """Compare, or write; 1 if anything differs."""
    rows = judged(folder)
    if write:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        return 0
    with TABLE.open(encoding="utf-8", newline="") as file:
        expected = list(csv.reader(file))[1:]
    known = {tuple(row) for row in expected}
    found = {tuple(row) for row in rows}
    for sign, differing in (("-", known - found), ("+", found - known)):
        for row in sorted(differing):
            sys.stdout.write(f"{sign} {' | '.join(row)}\n")
    sys.stdout.write(f"{len(rows)} files, {len(known & found)} as in {TABLE.name}\n")
    return int(known != found)


if __name__ == "__main__":
    configure_logs()
    sys.exit(main(Path(sys.argv[1]), write="--write" in sys.argv[2:]))
