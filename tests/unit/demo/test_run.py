"""The demo: a real head through the real loop; it removes nothing that is not its own."""

from __future__ import annotations

from pathlib import Path

import highdicom
import pytest

from command_line import in_shell
from conftest import ROOT
from phantom import write_series
from readings import complaints
from wetread.demo.run import _clear, run_demo
from wetread.dicom.files import find_instances
from wetread.errors import ConfigError, InputError

REPOSITORY = ROOT / ".cache" / "triton_models"
STAGES = (
    "torch, MONAI and OpenVINO loaded",
    "networks built and checked",
    "Colin27 head written",
    "181 instances sent by C-STORE",
    "study complete: every series quiet",
    "routed, with a reason",
    "read: load",
    "read: preprocess",
    "read: forward",
    "read: postprocess",
    "read: encode",
    "SC, SEG, SR delivered",
    "page written",
)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_real_head_comes_back_as_three_objects_and_a_page(tmp_path: Path) -> None:
    done = in_shell("demo", "--repository", REPOSITORY, "--output", tmp_path / "out", folder=ROOT)
    assert done.exit_code == 0, done.err
    ticks = [line for line in done.out.splitlines() if line.startswith("✔")]
    assert len(ticks) == len(STAGES)
    assert all(stage in tick for stage, tick in zip(STAGES, ticks, strict=True))
    for kind in ("SEG", "SR", "SC"):
        assert complaints((tmp_path / "out" / f"{kind}.dcm").read_bytes(), tmp_path) == []
    check_one_volume(tmp_path / "out", done.out)


def check_one_volume(output: Path, said: str) -> None:
    """The same millilitres in the SEG, on the page and in the terminal."""
    seg = highdicom.seg.segread(output / "SEG.dcm").get_volume(combine_segments=True)
    voxel_mm3 = float(seg.spacing[0] * seg.spacing[1] * seg.spacing[2])
    volume = f"{(seg.array > 0).sum() * voxel_mm3 / 1000:.1f} mL"
    assert f"brain_mr_extraction found: Brain {volume}" in said
    assert volume in (output / "index.html").read_text(encoding="utf-8")


def demo(tmp_path: Path, study: Path) -> None:
    bundles = ROOT / "bundles"
    output, head = tmp_path / "out", Path("none")
    run_demo(study=study, head=head, output=output, bundles=bundles, repository=REPOSITORY)


@pytest.mark.timeout(60)
def test_a_study_that_no_rule_wants_is_said(tmp_path: Path) -> None:
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    with pytest.raises(InputError, match="no such file"):
        demo(tmp_path, tmp_path / "elsewhere")
    with pytest.raises(Exception, match="no series met the demo's rule"):
        demo(tmp_path, series.paths[0].parent)


def test_a_folder_of_two_studies_is_refused(tmp_path: Path) -> None:
    for seed in ("one", "two"):
        write_series(tmp_path / "all" / seed, shape=(4, 16, 16), seed=seed)
    with pytest.raises(InputError, match="holds 2 studies"):
        demo(tmp_path, tmp_path / "all")


def test_what_an_earlier_demo_wrote_is_removed(tmp_path: Path) -> None:
    _clear(tmp_path, ())
    (tmp_path / "spool" / "received").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    _clear(tmp_path, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".wetread-demo", "notes.txt"]


def test_a_folder_of_another_origin_is_left_alone(tmp_path: Path) -> None:
    """The spool of a real gateway has the same name."""
    ledger = tmp_path / "spool" / "ledger.sqlite3"
    ledger.parent.mkdir()
    ledger.touch()
    with pytest.raises(ConfigError, match="was not made by the demo"):
        _clear(tmp_path, ())
    assert ledger.exists()


def test_the_study_to_send_is_not_removed_first(tmp_path: Path) -> None:
    _clear(tmp_path, ())
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    with pytest.raises(ConfigError, match="which the demo clears"):
        _clear(tmp_path, find_instances(series.paths[0].parent))
    assert all(path.exists() for path in series.paths)
