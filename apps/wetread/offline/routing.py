"""`wetread route`: the routing decision on what lies on disk, without a gateway."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from wetread.config import Config
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances, unpacked
from wetread.route.rules import RoutingDecision, evaluate_rules
from wetread.study import Completion, ReceivedInstance, Study


def decide(path: Path, config: Config, calling_ae_title: str) -> list[RoutingDecision]:
    """The routing decision on each study under `path`, as the gateway would make it.

    Raises InputError or RoutingError.
    """
    with unpacked(path) as folder:
        studies: dict[str, list[ReceivedInstance]] = {}
        for instance in find_instances(folder):
            studies.setdefault(instance.study_instance_uid, []).append(instance)
        return [
            evaluate_rules(
                _study(uid, instances, calling_ae_title), config.rules, config.routing.match
            )
            for uid, instances in studies.items()
        ]


def _study(uid: str, instances: list[ReceivedInstance], calling_ae_title: str) -> Study:
    attributes = read_study(instances, stack_by_stack=True)
    return Study(
        study_instance_uid=uid,
        generation=1,
        calling_ae_title=calling_ae_title,
        series=attributes.series,
        completion=Completion("given as a whole", 0.0, datetime.now(UTC)),
        study_description=attributes.study_description,
        patient_age_years=attributes.patient_age_years,
    )
