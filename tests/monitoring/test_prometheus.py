"""A real Prometheus watches a real gateway: a study, then a destination that dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom import dcmread

from gateway import Gateway, ReceivingAE, eventually, running_gateway, send, settings
from monitoring.prometheus import Prometheus, running_prometheus
from monitoring.test_rules import ALERTS, RECORDED, expressions
from network.neighbours import free_port
from phantom import PhantomSeries, write_series
from tiny_model import NETWORK, TinyModel
from wetread.ledger import DeliveryState

pytestmark = pytest.mark.timeout(120)
NAME, PATIENT_ID, STRANGER = "Zyxwvut^Quentin", "ID-90817263", "ZYXWVUT"
UID = re.compile(r"\d+(\.\d+){4,}")


@dataclass
class Watched:
    """A gateway that has read a study, and whose destination has died since."""

    prometheus: Prometheus
    text: str
    text_at_first: str
    series: PhantomSeries
    deliveries: int


def series_of(folder: Path) -> PhantomSeries:
    series = write_series(folder, shape=(6, 16, 16), patient_name=NAME, seed=folder.name)
    for path in series.paths:
        dataset = dcmread(path)
        dataset.PatientID = PATIENT_ID
        dataset.save_as(path)
    return series


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, tiny_ct: TinyModel) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    one, other = series_of(folder / "one"), series_of(folder / "other")
    port = free_port()
    with ReceivingAE(folder / "pacs") as pacs:
        retries = {"first_retry_seconds": 0.2, "max_retry_seconds": 0.2, "max_attempts": 500}
        config = settings(
            folder,
            tiny_ct,
            {"pacs": {**pacs.destination, **retries}},
            metrics={"port": port},
            listener={"port": 0, "accept_calling_ae_titles": ["CT_ROOM1", "*"]},
        )
        with (
            running_gateway(config) as gateway,
            running_prometheus(folder / "prometheus", f"127.0.0.1:{port}") as prometheus,
        ):
            first = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            gateway.send(one.paths)
            read(gateway, one)
            eventually(
                lambda: prometheus.query('wetread_deliveries_total{outcome="delivered"} > 0')
            )
            pacs.__exit__()
            send(other.paths, gateway.service.listener.port, caller=STRANGER)
            job = gateway.job(other.study_instance_uid)
            eventually(lambda: prometheus.firing("WetreadDestinationDead"), seconds=60)
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            deliveries = len(gateway.service.ledger.deliveries.list(job_id=job.job_id))
            yield Watched(prometheus, text, first, one, deliveries)


def read(gateway: Gateway, series: PhantomSeries) -> None:
    job = gateway.job(series.study_instance_uid)
    gateway.deliveries(job.job_id, DeliveryState.DELIVERED)


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """By the values of its labels, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_the_alert_for_a_dead_destination_names_it(watched: Watched) -> None:
    [labels] = eventually(lambda: watched.prometheus.firing("WetreadDestinationDead"))
    assert (labels["destination"], labels["severity"]) == ("pacs", "critical")
    [(_, waiting)] = watched.prometheus.query("wetread_deliveries_waiting")
    assert waiting == watched.deliveries == 3


def test_no_other_alert_of_operations_fires(watched: Watched) -> None:
    firing = watched.prometheus.query('ALERTS{alertstate="firing",severity="critical"}')
    assert {labels["alertname"] for labels, _ in firing} == {"WetreadDestinationDead"}


def test_prometheus_has_loaded_every_rule(watched: Watched) -> None:
    groups = watched.prometheus.get("/rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == len(ALERTS) + len(RECORDED)
    assert [(rule["name"], rule["lastError"]) for rule in loaded if rule.get("lastError")] == []


def test_every_query_can_be_asked(watched: Watched) -> None:
    for _, expression in expressions():
        watched.prometheus.query(expression.replace("$model", ".*"))


def test_what_is_made_ahead_is_there(watched: Watched) -> None:
    """But for what a classifier, a gate or a reader would bring."""
    elsewhere = ("probability", "unlike", "corrections")
    made = [rule["record"] for rule in RECORDED]
    for name in made:
        if not any(word in name for word in elsewhere):
            assert eventually(lambda n=name: watched.prometheus.get("/series", **{"match[]": n}))


def test_no_label_has_anything_of_a_patient_or_a_uid(watched: Watched) -> None:
    secrets = (*NAME.lower().split("^"), PATIENT_ID.lower(), watched.series.study_instance_uid)
    looked_at = 0
    for text in (watched.text_at_first, watched.text):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    looked_at += 1
                    assert not UID.search(value), (sample.name, label, value)
                    assert not [each for each in secrets if each in value.lower()], sample.name
    assert looked_at > 1000
    for labels in watched.prometheus.get("/series", **{"match[]": '{job="wetread"}'}):
        assert not any(UID.search(value) for name, value in labels.items() if name != "instance")


def test_a_sender_that_nobody_named_is_another(watched: Watched) -> None:
    received = values(watched.text, "wetread_instances_received_total")
    assert received["other", "CT"] >= 6
    assert received["CT_ROOM1", "CT"] >= 6
    assert not [labels for labels in received if STRANGER in labels]


def test_what_the_model_found_is_counted_in_millilitres(watched: Watched) -> None:
    key, name = ("tiny", "Ellipsoid"), "wetread_segment_volume_ml"
    sums, counts = (
        values(watched.text, name + part)[key]
        - values(watched.text_at_first, name + part).get(key, 0)
        for part in ("_sum", "_count")
    )
    true_ml = int(watched.series.mask().sum()) * abs(np.linalg.det(watched.series.affine[:3, :3]))
    assert counts == 2
    assert sums / counts == pytest.approx(true_ml / 1000)


def test_the_model_and_its_networks_are_named(watched: Watched) -> None:
    [model] = values(watched.text, "wetread_model_info")
    assert model[:2] == ("tiny", "0.0.1")
    assert re.fullmatch(r"[0-9a-f]{12}", model[2])
    assert values(watched.text, "wetread_model_open")["tiny",] == 1
    assert values(watched.text, "wetread_forward_images_total")["tiny", NETWORK] >= 2


def test_a_counter_that_an_alert_asks_for_begins_with_nought(watched: Watched) -> None:
    """Prometheus sees no increase in a counter whose first value is 1."""
    first = watched.text_at_first
    assert values(first, "wetread_failures_total")["routing", "route"] >= 0
    assert values(first, "wetread_readings_total")["tiny", "failed"] >= 0
    assert values(first, "wetread_deliveries_total")["pacs", "dead"] >= 0
    assert values(first, "wetread_instances_refused_total")["CT_ROOM1", "storage"] >= 0
    assert values(first, "wetread_associations_rejected_total")["no TLS",] >= 0
