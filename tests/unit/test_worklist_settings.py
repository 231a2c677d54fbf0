"""A worklist without what it needs is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from wetread.config import parse_config
from wetread.errors import ConfigError

WHOLE = {"url": "http://ris", "archive": "http://pacs", "codes": {"A^99B": "all"}}
RULES = [{"name": "all", "when": {}, "run": [], "send_results_to": []}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": ""}, "needs an archive to fetch from"),
        ({"codes": {}}, "needs an archive to fetch from, and codes"),
        ({"codes": {"A^99B": "al"}}, "unknown name 'al', did you mean 'all'"),
        ({"codes": {"A": "all"}}, "String should match pattern"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], words: str) -> None:
    parse_config({"worklist": WHOLE, "rules": RULES})
    with pytest.raises(ConfigError, match=words):
        parse_config({"worklist": {**WHOLE, **changes}, "rules": RULES})
