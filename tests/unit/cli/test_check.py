"""`wetread check …` and `wetread models …`: what is configured can be relied on, or why not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from command_line import write_settings
from conftest import ROOT
from network.neighbours import free_port
from odd_files import KINDS
from tiny_model import NETWORK, TinyModel, write_tiny_model
from wetread.config import ListenerConfig
from wetread.models.original import is_trained
from wetread.models.record import BuiltModel, Figures, write_record
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool
from wetread.triton.configs import CONTAINER

from .conftest import Run

BUNDLES = ("--bundles", ROOT / "bundles")

DEAD = """
[destinations.{name}]
kind = "dicom"
host = "127.0.0.1"
port = {port}
called_ae_title = "PACS"
timeout_seconds = 2.0
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 11112\n[", "wetread.toml:"),
        ("[listener]\nprot = 104\n", "listener.prot: unknown key"),
        ('[listener]\nport = "x"\n', "listener.port"),
        ('[listener]\nae_title = "A_TITLE_THAT_IS_TOO_LONG"\n', "1 to 16 characters"),
        ('[[rules]]\nname="r"\nwhen={}\nrun=["brian"]\nsend_results_to=[]\n', "'brian'"),
    ],
)
def test_a_bad_settings_file_is_a_config_error_with_its_place(
    wetread: Run, text: str, words: str
) -> None:
    Path("wetread.toml").write_text(text, encoding="utf-8")
    assert wetread("check", "config").is_error(2, words)


@pytest.mark.parametrize("path", ["missing.toml", ".", "latin1.toml"])
def test_a_settings_file_that_cannot_be_read_is_a_config_error(wetread: Run, path: str) -> None:
    Path("latin1.toml").write_bytes(b'[listener]\nae_title = "\xe4"\n')
    assert wetread("check", "config", "--config", path).is_error(2, path)


def test_the_example_of_deploy_has_no_fault(wetread: Run) -> None:
    done = wetread("check", "config", "--config", ROOT / "deploy/wetread.toml")
    assert (done.exit_code, done.err) == (0, "")
    assert "WETREAD at 0.0.0.0:11112" in done.out
    assert "CT_ROOM1, MR_ROOM2" in done.out


def test_nobody_is_accepted_unless_named(wetread: Run) -> None:
    Path("wetread.toml").write_text("", encoding="utf-8")
    assert "nobody" in wetread("check", "config").out


def test_the_settings_file_may_come_from_the_environment(
    wetread: Run, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = settings_file.rename(settings_file.with_name("other.toml"))
    monkeypatch.setenv("WETREAD_CONFIG", str(elsewhere))
    assert "other.toml: no fault found" in wetread("check", "config").out


def test_of_every_file_it_is_said_whether_it_can_be_read(wetread: Run) -> None:
    KINDS["localizer in a series"].write(Path("data/head"))
    KINDS["report"].write(Path("data/report"))
    done = wetread("check", "data", "data", "--json")
    assert done.exit_code == 3
    assert {tuple(each) for each in done.json} == {("file", "series", "verdict", "reason")}
    said = {each["file"]: each["verdict"] for each in done.json}
    assert said == {
        **{f"head/{number:04d}.dcm": "readable" for number in range(1, 5)},
        "head/odd.dcm": "refused",
        "report/odd.dcm": "not_an_image",
    }


def test_a_table_of_files_has_a_line_for_each_and_counts_them(wetread: Run) -> None:
    KINDS["report in a series"].write(Path("data"))
    done = wetread("check", "data", "data")
    assert (done.exit_code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "data: 4 readable, 1 not an image"
    assert sum("readable" in line for line in lines[1:]) == 4
    assert any("Comprehensive SR Storage, no image" in line for line in lines)


def test_data_that_are_not_there_are_an_input_error(wetread: Run) -> None:
    assert wetread("check", "data", "nowhere").is_error(3, "no such file or folder")


@pytest.mark.usefixtures("settings_file")
def test_a_folder_destination_is_not_made_but_asked_for(wetread: Run) -> None:
    assert wetread("check", "destination", "inbox").exit_code == 0
    Path("inbox").rmdir()
    assert wetread("check", "destination", "inbox").is_error(4, "inbox", "does not exist")
    assert not Path("inbox").exists()


def test_a_dicom_destination_answers_an_echo(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel
) -> None:
    config = ListenerConfig(ae_title="PACS", port=0, accept_calling_ae_titles=("WETREAD",))
    pacs = Listener(config, Spool(tmp_path / "pacs", 0), lambda *_: None)
    pacs.start()
    port = pacs.port
    write_settings(tmp_path, tiny_ct, extra=DEAD.format(name="pacs", port=port))
    done = wetread("check", "destination", "pacs")
    pacs.stop()
    assert done.out == f"pacs (PACS at 127.0.0.1:{port}) answers a C-ECHO\n"


def test_a_destination_that_is_away_is_a_network_error(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel
) -> None:
    port = free_port()
    write_settings(tmp_path, tiny_ct, extra=DEAD.format(name="pacs", port=port))
    done = wetread("check", "destination", "pacs")
    assert done.is_error(4, f"PACS at 127.0.0.1:{port}", "cannot be reached")


@pytest.mark.usefixtures("settings_file")
def test_an_unknown_destination_is_a_config_error_that_names_the_known(wetread: Run) -> None:
    assert wetread("check", "destination", "pcas").is_error(2, "'pcas'", "inbox")


@pytest.mark.usefixtures("settings_file")
def test_a_configured_model_is_opened_and_named_with_its_hash(
    wetread: Run, tiny_ct: TinyModel
) -> None:
    network = (tiny_ct.repository / NETWORK / "1/model.onnx").read_bytes()
    weights = hashlib.sha256(hashlib.sha256(network).digest()).hexdigest()
    done = wetread("check", "models")
    assert done.exit_code == 0
    assert {"tiny", "0.0.1", weights[:12]} <= set(done.out.split())


def test_a_model_without_its_network_is_an_inference_error(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel
) -> None:
    write_settings(tmp_path, TinyModel(tiny_ct.bundle, tmp_path / "nowhere"))
    assert wetread("check", "models").is_error(5, NETWORK)


@pytest.mark.parametrize("command", ["build", "check"])
def test_no_bundles_is_a_config_error(wetread: Run, command: str) -> None:
    assert wetread("models", command).is_error(2, "no bundle in", "bundles")


def test_a_bundle_that_makes_no_network_is_a_config_error(wetread: Run, tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    assert wetread("models", "build").is_error(2, "network_def")


def test_a_bundle_is_built_by_its_name(wetread: Run, tmp_path: Path) -> None:
    """Only that one, and with the form of fewer bits that was asked for."""
    where = ("--bundles", ROOT / "bundles", "--repository", tmp_path)
    done = wetread("models", "build", "multimodal_fusion", "--precision", "fp16", *where)
    assert done.exit_code == 0, done.err
    text = " ".join(done.out.split())
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["multimodal_fusion", "multimodal_fusion_reading"]
    served = (tmp_path / "multimodal_fusion_reading/config.pbtxt").read_text(encoding="utf-8")
    form = tmp_path / "multimodal_fusion/1/model_fp16.onnx"
    assert hashlib.sha256(form.read_bytes()).hexdigest() in served
    assert "agreement" in text


def test_a_name_that_is_no_bundle_is_a_config_error(wetread: Run) -> None:
    done = wetread("models", "build", "nothing", "--bundles", ROOT / "bundles")
    assert done.is_error(2, "no bundle 'nothing'", "multimodal_fusion")


def test_integers_without_images_are_a_config_error(wetread: Run) -> None:
    done = wetread("models", "build", "multimodal_fusion", "--precision", "int8", *BUNDLES)
    assert done.is_error(2, "calibrated on images")


def test_the_data_are_of_one_bundle(wetread: Run, tmp_path: Path) -> None:
    done = wetread("models", "build", "--precision", "int8", "--data", tmp_path, *BUNDLES)
    assert done.is_error(2, "--data is of one bundle")


def test_plans_are_built_inside_the_container(
    wetread: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = wetread("models", "build", "--target", "tensorrt", *BUNDLES)
    assert done.is_error(2, f"built inside {CONTAINER}: there is no trtexec here")


def test_nothing_is_built_yet(wetread: Run) -> None:
    assert wetread("models", "list").out == "networks: none\n"
    assert wetread("models", "list", "--json").json == []
    assert wetread("models", "check", "--bundles", ROOT / "bundles").is_error(5, "brain_mr")


@pytest.mark.timeout(180)
def test_networks_are_built_listed_and_checked(wetread: Run) -> None:
    """The real ones: what is built already is left as it is."""
    places = ("--repository", ROOT / ".cache" / "triton_models")
    bundles = ("--bundles", ROOT / "bundles")
    built = wetread("models", "build", *bundles, *places)
    assert built.exit_code == 0, built.err
    listed = wetread("models", "list", "--json", *places).json
    trained = [path for path in (ROOT / "bundles").glob("*/configs") if is_trained(path.parent)]
    names = [name for path in trained for name in networks(path)]
    assert sorted({each["network"] for each in listed}) == sorted(names)
    assert all(each["figures"]["agreement"] >= 0.999 for each in listed)
    checked = wetread("models", "check", *bundles, *places)
    assert (checked.exit_code, checked.out) == (0, built.out)
    untrained = {path.parent.name for path in (ROOT / "bundles").glob("*/configs")} - {
        path.parent.name for path in trained
    }
    assert untrained == {"brain_tumour_mri_classification", "brain_tumour_mri_pipeline"}
    assert "has no weights yet: wetread bundle train" in " ".join(built.out.split())


def networks(configs: Path) -> list[str]:
    content = json.loads((configs / "export.json").read_text(encoding="utf-8"))
    return list(content["networks"])


@pytest.mark.timeout(60)
def test_a_changed_network_is_an_inference_error(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel
) -> None:
    folder = tmp_path / "triton_models" / NETWORK / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(
        (tiny_ct.repository / NETWORK / "1/model.onnx").read_bytes()
    )
    figures = Figures(mean_difference=0.0, share_of_spread=0.0, agreement=1.0)
    write_record(BuiltModel(NETWORK, "1", folder / "model.onnx", "0", "0", figures), folder)
    done = wetread("models", "check", "--bundles", tiny_ct.bundle.parent)
    assert done.is_error(5, "is not the file that was built")
