"""STOW-RS into our door: from httpx, from our own destination, from Orthanc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

from network import neighbours
from network.neighbours import data_set_bytes, write_small_ct
from wetread.config import DicomwebDestination, StowConfig
from wetread.deliver.registry import open_destination
from wetread.errors import ConfigError, StoreRefusedError
from wetread.receive.accept import Record
from wetread.receive.spool import Spool
from wetread.receive.stow import StowDoor

MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'


def multipart(*parts: bytes, content_type: str = "application/dicom") -> bytes:
    head = f"--edge\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--edge--\r\n"


def post(
    url: str, body: bytes, content_type: str = MULTIPART, path: str = "/studies"
) -> httpx.Response:
    return httpx.post(url + path, content=body, headers={"Content-Type": content_type})


def test_two_instances(stow_url, recorder, tmp_path):
    """Two parts become two instances, byte for byte, and both are named in the answer."""
    files = [write_small_ct(tmp_path) for _ in range(2)]
    answer = post(stow_url, multipart(*(path.read_bytes() for path in files)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    stored = answer.json()["00081199"]["Value"]
    assert [item["00081155"]["Value"][0] for item in stored] == [path.stem for path in files]
    assert [data_set_bytes(i.path) for i in recorder.instances] == [
        data_set_bytes(path) for path in files
    ]
    assert {i.calling_ae_title for i in recorder.instances} == {"STOW-RS"}
    assert recorder.ended == ["STOW-RS"]


@pytest.mark.parametrize("name", ["image_dfl.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_encodings(stow_url, recorder, name):
    """The data set stays in its transfer syntax."""
    path = neighbours.bundled_file(name)
    assert post(stow_url, multipart(path.read_bytes())).status_code == 200
    assert data_set_bytes(recorder.instances[0].path) == data_set_bytes(path)


def test_some_fail(stow_url, tmp_path):
    """One good and one bad part: 202, each in its sequence."""
    good = write_small_ct(tmp_path)
    bad = write_small_ct(tmp_path, SeriesInstanceUID="")
    answer = post(stow_url, multipart(good.read_bytes(), bad.read_bytes(), b"no DICOM file"))
    assert answer.status_code == 202
    module = answer.json()
    assert [i["00081155"]["Value"] for i in module["00081199"]["Value"]] == [[good.stem]]
    reasons = [i["00081197"]["Value"] for i in module["00081198"]["Value"]]
    assert reasons == [[0xA900], [0xC000]]


def test_all_fail(stow_url, recorder, tmp_path):
    """Nothing stored: 409."""
    bad = write_small_ct(tmp_path, StudyInstanceUID="")
    assert post(stow_url, multipart(bad.read_bytes())).status_code == 409
    assert recorder.instances == []


def test_study_of_the_url(stow_url, tmp_path):
    """An instance of another study is refused at the door of one study."""
    path = write_small_ct(tmp_path)
    body = multipart(path.read_bytes())
    study = dcmread(path).StudyInstanceUID
    assert post(stow_url, body, path=f"/studies/{study}").status_code == 200
    assert post(stow_url, body, path="/studies/1.2.3").status_code == 409


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("application/dicom", b"", 415),
        ('multipart/related; type="application/dicom+json"; boundary=edge', b"", 415),
        (MULTIPART, multipart(b"x", content_type="image/jpeg"), 415),
        ('multipart/related; type="application/dicom"', b"", 400),
        (MULTIPART, b"", 400),
        (MULTIPART, multipart(), 400),
        (MULTIPART, multipart(b"x")[:-10], 400),
    ],
)
def test_wrong_requests(stow_url, content_type, body, status):
    """What is no store request is answered with the status of PS3.18, and in words."""
    answer = post(stow_url, body, content_type)
    assert answer.status_code == status
    assert answer.json()["error"]


@contextmanager
def door(spool: Spool, recorder: Record, **settings: object) -> Iterator[str]:
    config = StowConfig.model_validate(settings)
    with neighbours.http_serving(StowDoor(config, spool, recorder).app) as url:
        yield f"{url}/dicom-web"


def test_body_limit(spool, recorder, tmp_path):
    """More than the limit is 413, whether it was announced or not."""
    body = multipart(write_small_ct(tmp_path).read_bytes())
    headers = {"Content-Type": MULTIPART}
    with door(spool, recorder, max_body_bytes=1000) as url:
        assert post(url, body).status_code == 413
        pieces = iter([body[:900], body[900:1800]])
        answer = httpx.post(f"{url}/studies", content=pieces, headers=headers)
        assert answer.status_code == 413
    assert recorder.instances == []


def test_disk_full(recorder, tmp_path):
    """A full spool is 503: come again."""
    with door(Spool(tmp_path / "full", 1 << 60), recorder) as url:
        answer = post(url, multipart(write_small_ct(tmp_path).read_bytes()))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert [p for p in (tmp_path / "full").rglob("*") if p.is_file()] == []


def test_token(spool, recorder, tmp_path):
    """With a token file nobody stores without the token."""
    token = tmp_path / "token"
    token.write_text("opensesame\n", encoding="utf-8")
    body = multipart(write_small_ct(tmp_path).read_bytes())
    given = ["", "Bearer wrong", "Basic opensesame", "Bearer opensesame"]
    with door(spool, recorder, token_file=token) as url:
        statuses = [
            httpx.post(
                f"{url}/studies",
                content=body,
                headers={"Content-Type": MULTIPART, "Authorization": authorization},
            ).status_code
            for authorization in given
        ]
    assert statuses == [401, 401, 401, 200]


@pytest.mark.parametrize("content", ["", None])
def test_token_file(spool, recorder, tmp_path, content):
    """An empty or missing token file does not open the door to everybody."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="token_file"):
        StowDoor(StowConfig(token_file=token), spool, recorder)


def test_from_orthanc(stow_url, recorder, orthanc, tmp_path):
    """Orthanc's DICOMweb plugin stores into our door."""
    path = write_small_ct(tmp_path)
    identifier = orthanc.upload(path)
    orthanc.know_server("wetread", stow_url)
    answer = orthanc.post(
        "/dicom-web/servers/wetread/stow", {"Resources": [identifier], "Synchronous": True}
    )
    assert answer.status_code == 200, answer.text
    assert data_set_bytes(recorder.instances[0].path) == data_set_bytes(path)


def test_from_our_own_destination(stow_url, recorder, tmp_path):
    """What we send by STOW-RS we take; what we refuse, the sender hears of."""
    config = DicomwebDestination(kind="dicomweb", url=stow_url)
    destination = open_destination("self", config)
    path = write_small_ct(tmp_path)
    assert destination.send(path).answer == "HTTP 200: stored"
    dataset = dcmread(path)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    broken = Path(tmp_path / "broken.dcm")
    dataset.save_as(broken, enforce_file_format=False)
    with pytest.raises(StoreRefusedError, match="A900"):
        destination.send(broken)
    assert len(recorder.instances) == 1
