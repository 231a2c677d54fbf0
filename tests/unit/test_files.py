"""The secret of a setting, from its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from wetread.errors import ConfigError
from wetread.files import secret_in


def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" abc\n", encoding="utf-8")
    assert secret_in(file, "stow.token_file") == "abc"
    assert secret_in(None, "stow.token_file") == ""


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "cannot read"), (b" \n", "is empty"), (b"\xff\xfe", "is no text")]
)
def test_a_file_without_a_secret_is_no_secret(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    """Else a door that should ask for a token would stand open."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^stow\.token_file: .*{fault}"):
        secret_in(tmp_path / "token", "stow.token_file")
