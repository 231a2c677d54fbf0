"""Whom a metric names: the senders of the settings, and nobody else."""

from __future__ import annotations

from wetread.config import parse_config
from wetread.receive.callers import counted_as, named_callers


def test_every_table_that_names_a_sender_makes_it_known() -> None:
    config = parse_config(
        {
            "listener": {"accept_calling_ae_titles": ["CT1", "MR1@10.1.0.5", "*@10.2.0.0/16"]},
            "assembly": {"callers": {"MR2": {"series_quiet_seconds": 60.0}}},
            "commitment": {"callers": {"CT3": {"host": "ct3", "port": 104}}},
            "rules": [
                {
                    "name": "by sender",
                    "when": {"calling_ae_title": ["US1"]},
                    "run": [],
                    "send_results_to": [],
                }
            ],
        }
    )
    assert named_callers(config) == {"CT1", "MR1", "MR2", "CT3", "US1"}


def test_a_stranger_is_another() -> None:
    assert counted_as("CT1", {"CT1"}) == "CT1"
    assert counted_as("DOE^JOHN", {"CT1"}) == "other"
