"""Where the viewer is reached, and when it may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wetread.config import ViewerConfig
from wetread.errors import ConfigError
from wetread.viewer.settings import (
    address_of,
    addresses_of,
    archive_headers,
    check_settings,
    study_address,
)

ARCHIVE = "http://127.0.0.1:8042/dicom-web"
PUBLIC = "https://viewer.hospital.example"


def config(**values: Any) -> ViewerConfig:
    return ViewerConfig(studies=ARCHIVE, **values)


def test_a_study_opens_by_its_address() -> None:
    """With Segmentations, or where reports are shown."""
    rest = "?StudyInstanceUIDs=1.2.3&hangingprotocolid=default"
    assert study_address(config(), "1.2.3") == f"http://127.0.0.1:8050/segmentation{rest}"
    elsewhere = config(public_url=f"{PUBLIC}/")
    assert study_address(elsewhere, "1.2.3", reports=True) == f"{PUBLIC}/viewer{rest}"


def test_it_is_known_by_the_names_of_this_machine_and_its_own() -> None:
    assert set(addresses_of(config())) == {"127.0.0.1:8050", "localhost:8050", "[::1]:8050"}
    named = addresses_of(config(host="0.0.0.0", public_url=PUBLIC))
    assert named == {"viewer.hospital.example": PUBLIC}
    assert address_of(config(host="10.0.0.5", port=80)) == "http://10.0.0.5"


@pytest.mark.parametrize(
    ("values", "has_users", "fact"),
    [
        ({"host": "0.0.0.0"}, False, "can be reached from elsewhere, and there are no users"),
        ({"public_url": PUBLIC}, False, "can be reached from elsewhere, and there are no users"),
        ({"host": "0.0.0.0"}, True, "says not by which name browsers reach it"),
    ],
)
def test_strangers_are_not_let_in(values: dict[str, Any], has_users: bool, fact: str) -> None:
    with pytest.raises(ConfigError, match=fact):
        check_settings(config(**values), has_users)


def test_with_users_it_may_be_reached() -> None:
    check_settings(config(host="0.0.0.0", public_url=PUBLIC), True)
    check_settings(config(host="10.0.0.5"), True)
    check_settings(config(), False)


def test_beside_the_dashboard_its_users_are_known() -> None:
    """A browser brings its cookie to another port, but to no other host, and not out of TLS."""
    beside, dashboard = f"{PUBLIC}:8443", f"{PUBLIC}"
    check_settings(config(host="0.0.0.0", public_url=beside), False, dashboard)
    for other in ("https://wetread.hospital.example", "http://viewer.hospital.example", ""):
        with pytest.raises(ConfigError, match="there are no users") as caught:
            check_settings(config(public_url=beside), False, other)
        assert "the host name of the dashboard" in caught.value.hint


def test_without_an_archive_there_is_nothing_to_show() -> None:
    with pytest.raises(ConfigError, match="names no archive"):
        check_settings(ViewerConfig(), False)


def test_the_login_in_the_archive_comes_from_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "token").write_text("abc\n")
    assert archive_headers(config()) == {}
    named = config(studies_user="wetread", studies_password_file=tmp_path / "password")
    assert archive_headers(named) == {"Authorization": "Basic d2V0cmVhZDpzZWNyZXQ="}
    token = config(studies_token_file=tmp_path / "token")
    assert archive_headers(token) == {"Authorization": "Bearer abc"}
    with pytest.raises(ConfigError, match=r"cannot read .*/gone"):
        archive_headers(config(studies_token_file=tmp_path / "gone"))
