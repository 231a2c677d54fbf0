"""Every Prometheus metric, declared once. No UID and no patient value is ever a label.

Every label has few values, which the settings, a bundle or this package name. What the ledger
counts is the same from every process that shares it: over several, take the largest, not the sum.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

OTHER = "other"
"""Stands for what a sender may call as it likes."""

# -- this process ------------------------------------------------------------------------------
BUILD = Gauge("wetread_build_info", "1; which wetread runs.", ["version", "python"])
FAILURES = Counter(
    "wetread_failures_total", "Errors by stage and class of error.", ["stage", "error"]
)

# -- receiving ---------------------------------------------------------------------------------
INSTANCES_RECEIVED = Counter(
    "wetread_instances_received_total",
    "Instances written to the spool and acknowledged.",
    ["calling_ae_title", "modality"],
)
RECEIVED_BYTES = Counter(
    "wetread_received_bytes_total", "Bytes of the same, without file headers.", ["calling_ae_title"]
)
INSTANCES_REFUSED = Counter(
    "wetread_instances_refused_total",
    "Instances answered with a failure status.",
    ["calling_ae_title", "error"],
)
ASSOCIATIONS = Gauge("wetread_associations", "Associations that are open now.")
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
STUDIES_WAITING = Gauge("wetread_studies_waiting", "Studies whose instances still arrive.")

# -- the work ----------------------------------------------------------------------------------
QUEUE_TASKS = Gauge("wetread_queue_tasks", "Tasks that are to be done, by kind.", ["kind"])
QUEUE_OLDEST_SECONDS = Gauge(
    "wetread_queue_oldest_seconds",
    "How long the oldest of those tasks that could run has waited for its turn.",
    ["kind"],
)
JOBS = Gauge("wetread_jobs", "Jobs in the ledger by state.", ["state"])
READINGS = Counter("wetread_readings_total", "Runs of jobs by their end.", ["model", "outcome"])
STAGE_SECONDS = Histogram(
    "wetread_stage_seconds",
    "Seconds spent in a stage of a job.",
    ["stage", "model"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)

# -- models ------------------------------------------------------------------------------------
MODEL = Gauge(
    "wetread_model_info",
    "1; which version of a model reads, with the start of its weights' hash.",
    ["model", "version", "weights"],
)
MODEL_OPEN = Gauge("wetread_model_open", "Whether this process has the model open.", ["model"])
FORWARD_SECONDS = Histogram(
    "wetread_forward_seconds",
    "Seconds of one call of a network, with a batch of images.",
    ["model", "network"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
FORWARD_IMAGES = Counter(
    "wetread_forward_images_total", "Images, slices or windows in those batches.",
    ["model", "network"],
)  # fmt: skip
TRITON_UP = Gauge("wetread_triton_up", "Whether a Triton server is ready.", ["endpoint"])

# -- delivering --------------------------------------------------------------------------------
DELIVERIES = Counter(
    "wetread_deliveries_total", "Tries to deliver an object.", ["destination", "outcome"]
)
DELIVERY_SECONDS = Histogram(
    "wetread_delivery_seconds",
    "Seconds of a try to deliver an object, whatever came of it.",
    ["destination"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
DELIVERIES_WAITING = Gauge(
    "wetread_deliveries_waiting", "Objects that a destination is to get.", ["destination"]
)
DELIVERIES_FAILING = Gauge(
    "wetread_deliveries_failing", "Those of them that failed and are tried again.", ["destination"]
)
DELIVERY_OLDEST_SECONDS = Gauge(
    "wetread_delivery_oldest_seconds", "How long the oldest of them has waited.", ["destination"]
)
DEAD_LETTERS = Gauge(
    "wetread_dead_letters", "Objects that were given up and wait for a person.", ["destination"]
)
DELIVERED_AT = Gauge(
    "wetread_delivered_timestamp_seconds",
    "When a destination took an object last, in seconds since 1970.",
    ["destination"],
)
COMMITMENTS_OPEN = Gauge(
    "wetread_commitments_open",
    "Objects of which a destination has not said yet whether it keeps them.",
    ["destination"],
)
COMMITMENT_REQUESTS = Gauge(
    "wetread_commitment_requests_waiting", "Senders' questions that are not answered yet."
)

# -- disk, ledger, workers ---------------------------------------------------------------------
SPOOL_FREE_BYTES = Gauge("wetread_spool_free_bytes", "Free bytes on the spool's disk.")
SPOOL_DISK_BYTES = Gauge("wetread_spool_disk_bytes", "The size of the spool's disk.")
SPOOL_MIN_FREE_BYTES = Gauge(
    "wetread_spool_min_free_bytes", "With less free than this, senders are answered A700."
)
SPOOL_IMAGE_BYTES = Gauge("wetread_spool_image_bytes", "Bytes of received images in the spool.")
REMOVED_STUDIES = Counter("wetread_removed_studies_total", "Studies removed by retention.")
REMOVED_BYTES = Counter("wetread_removed_bytes_total", "Bytes removed with them.")
LEDGER_UP = Gauge("wetread_ledger_up", "Whether the ledger answered when it was asked last.")
LEDGER_SECONDS = Histogram(
    "wetread_ledger_seconds",
    "Seconds of one transaction of the ledger.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WORKER_LEASE_END = Gauge(
    "wetread_worker_lease_end_timestamp_seconds",
    "Until when a worker is taken for alive, in seconds since 1970.",
    ["worker"],
)
WORKERS_LOST = Counter("wetread_workers_lost_total", "Workers that were taken for dead.")

# -- how a model does over time ----------------------------------------------------------------
INPUT_SPACING_MM = Histogram(
    "wetread_input_slice_spacing_mm",
    "Millimetres between slices of the series that were read.",
    ["model"],
    buckets=(0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10),
)
INPUT_IMAGES = Histogram(
    "wetread_input_images",
    "Images of the series that were read.",
    ["model"],
    buckets=(1, 10, 20, 40, 80, 160, 320, 640, 1280, 2560),
)
INPUT_DISTANCE = Histogram(
    "wetread_input_distance_ratio",
    "Distance of an image from those of the training, over the limit; above 1 it is unlike them.",
    ["model"],
    buckets=(0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10),
)
SEGMENT_ML = Histogram(
    "wetread_segment_volume_ml",
    "Millilitres of a segment that was found; 0 is nothing found.",
    ["model", "segment"],
    buckets=(0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 1300, 1600, 2000, 3000, 10000),
)
PROBABILITY = Histogram(
    "wetread_probability",
    "What a classifier gives a class.",
    ["model", "class"],
    buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1),
)
CORRECTIONS = Counter(
    "wetread_corrections_total",
    "Readings that a reader has corrected, by the version that proposed.",
    ["model", "version"],
)
AUDIT_WAITING = Gauge("wetread_audit_waiting", "Audit events that the syslog server has not got.")
