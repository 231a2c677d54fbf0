"""Every Prometheus metric, declared once. No UID and no patient value is ever a label."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

INSTANCES_RECEIVED = Counter(
    "wetread_instances_received_total",
    "Instances written to the spool and acknowledged.",
    ["calling_ae_title", "modality"],
)
INSTANCES_REFUSED = Counter(
    "wetread_instances_refused_total",
    "Instances answered with a failure status.",
    ["calling_ae_title", "error"],
)
ASSOCIATIONS_REJECTED = Counter(
    "wetread_associations_rejected_total",
    "Associations that were refused.",
    ["reason"],
)
CONTEXTS_REFUSED = Counter(
    "wetread_presentation_contexts_refused_total",
    "Presentation contexts that a caller offered and we do not take.",
    ["calling_ae_title", "abstract_syntax"],
)
STAGE_SECONDS = Histogram(
    "wetread_stage_seconds",
    "Seconds spent in a stage of a job.",
    ["stage", "model"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
JOBS = Gauge("wetread_jobs", "Jobs in the ledger by state.", ["state"])
STUDIES_WAITING = Gauge("wetread_studies_waiting", "Studies whose instances still arrive.")
FAILURES = Counter(
    "wetread_failures_total", "Errors by stage and class of error.", ["stage", "error"]
)
DELIVERIES = Counter(
    "wetread_deliveries_total", "Tries to deliver an object.", ["destination", "outcome"]
)
SPOOL_FREE_BYTES = Gauge("wetread_spool_free_bytes", "Free bytes on the spool's disk.")
