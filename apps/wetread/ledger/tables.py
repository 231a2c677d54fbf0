"""The ledger's tables. Times are seconds since 1970 UTC; structured values are JSON text."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy import Text as PlainText

# Raise it with every change of a table below that is not only new, with a step in moving.py.
SCHEMA_VERSION = "3"

metadata = MetaData()


class Text(TypeDecorator[str]):
    """Words from anywhere: PostgreSQL keeps no NUL, and no database half of a surrogate pair."""

    impl = PlainText
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: object) -> str | None:
        """What cannot be kept, written so that a person sees it."""
        if value is None:
            return None
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


properties = Table(
    "properties",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

studies = Table(
    "studies",
    metadata,
    Column("study_instance_uid", String, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("state", String, nullable=False, index=True),
    Column("calling_ae_title", Text, nullable=False),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    Column("complete_requested", Boolean, nullable=False, default=False),
    Column("completed_at", Float),
    Column("completion_reason", Text),
    Column("waited_seconds", Float),
    Column("decision", Text),
    Column("error", Text),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("series_instance_uid", String, nullable=False),
    Column("sop_instance_uid", String, nullable=False),
    Column("sop_class_uid", String, nullable=False),
    Column("transfer_syntax_uid", String, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("called_ae_title", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    UniqueConstraint("study_instance_uid", "sop_instance_uid", "sha256"),
)
instances_by_uid = Index("instances_by_uid", instances.c.sop_instance_uid)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("study_instance_uid", String, nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("series_instance_uid", String, nullable=False),
    Column("stack", String, nullable=False, default=""),
    Column("rule", String, nullable=False),
    Column("model", String, nullable=False),
    Column("destinations", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts_since_retry", Integer, nullable=False),
    Column("next_try_at", Float),
    Column("state", String, nullable=False, index=True),
    Column("stage", String, nullable=False, default=""),
    Column("progress", Float, nullable=False, default=0.0),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("outcome", Text),
    Column("seconds", Text),
    Column("error", Text),
)

results = Table(
    "results",
    metadata,
    Column("sop_instance_uid", String, primary_key=True),
    Column("job_id", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("sop_class_uid", String, nullable=False),
    Column("study_instance_uid", String, nullable=False),
    Column("source_series_instance_uid", String, nullable=False),
    Column("series_instance_uid", String, nullable=False),
    Column("model", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("superseded", Boolean, nullable=False, default=False),
)
Index("results_by_source", results.c.source_series_instance_uid, results.c.model)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", String, primary_key=True),
    Column("sop_instance_uid", String, nullable=False),
    Column("job_id", String, nullable=False, index=True),
    Column("destination", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("attempts_since_retry", Integer, nullable=False),
    Column("next_try_at", Float),
    Column("created_at", Float, nullable=False),
    Column("delivered_at", Float),
    Column("answer", Text),
    Column("error", Text),
)

removals = Table(
    "removals",
    metadata,
    Column("removal_id", Integer, primary_key=True),
    Column("study_instance_uid", String, nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("ended_at", Float),
)

# What `instances` said of each file that is no longer there.
removed_instances = Table(
    "removed_instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("removal_id", Integer, nullable=False, index=True),
    *(
        Column(each.name, each.type, nullable=False)
        for each in instances.columns
        if each.name != "id"
    ),
)

removed_results = Table(
    "removed_results",
    metadata,
    Column("sop_instance_uid", String, primary_key=True),
    Column("removal_id", Integer, nullable=False, index=True),
)

# The newest question whether a destination keeps an object, one row a delivery.
commitments = Table(
    "commitments",
    metadata,
    Column("delivery_id", String, primary_key=True),
    Column("destination", String, nullable=False),
    Column("state", String, nullable=False),
    Column("transaction_uid", String, index=True),
    Column("requests", Integer, nullable=False),
    Column("next_ask_at", Float),
    Column("answered_at", Float),
)

# What senders asked us to commit to, and whether they have been told.
commitment_requests = Table(
    "commitment_requests",
    metadata,
    Column("calling_ae_title", Text, primary_key=True),
    Column("transaction_uid", String, primary_key=True),
    Column("instances", Text, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", Float),
    Column("reported_at", Float),
    Column("outcome", Text),
)

# Processes that work on this ledger, one row a start, while they are taken for alive.
workers = Table(
    "workers",
    metadata,
    Column("executor_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("host", String, nullable=False),
    Column("boot_id", String, nullable=False),
    Column("process_id", Integer, nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("has_doors", Boolean, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("opened_at", Float),
    Column("expires_at", Float, nullable=False),
    Column("open_callers", Text, nullable=False),
)

# What a worklist has given to this gateway; it is here before it is claimed.
work_items = Table(
    "work_items",
    metadata,
    Column("workitem_uid", String, primary_key=True),
    Column("transaction_uid", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("code", Text, nullable=False),
    Column("study_instance_uid", String, nullable=False),
    Column("fetched", Boolean, nullable=False),
    Column("job_ids", Text, nullable=False),
    Column("claimed_at", Float, nullable=False),
)

# Which process works on the worklist now.
work_item_turns = Table(
    "work_item_turns",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("until", Float, nullable=False),
)

# How often an attempt of a job was cut short.
interruptions = Table(
    "interruptions",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("times", Integer, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", String, nullable=False, index=True),
    Column("job_id", String),
    Column("stage", String, nullable=False),
    Column("event", Text, nullable=False),
)

# Who may use the dashboard and the API. Of passwords, sessions and tokens only hashes are here.
users = Table(
    "users",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password_hash", Text),
    Column("subject", Text, unique=True),
    Column("must_change", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("last_login_at", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_sha256", String, primary_key=True),
    Column("user", String, nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("last_seen_at", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_sha256", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("label", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    UniqueConstraint("user", "label"),
)

# Added to and never changed, see trail.py.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", String, nullable=False, index=True),
    Column("message", Text, nullable=False),
    Column("previous_sha256", String, nullable=False),
    Column("sha256", String, nullable=False),
)

# How far each syslog server has got, or collector of traces, and who sends to it now.
audit_forwarding = Table(
    "audit_forwarding",
    metadata,
    Column("target", String, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("owner", String, nullable=False),
    Column("until", Float, nullable=False),
)

# Of which generations a collector of traces has the trace.
traces = Table(
    "traces",
    metadata,
    Column("study_instance_uid", String, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("exported_at", Float, nullable=False),
)


def _on(table: Table, dialect: str, statement: str) -> None:
    made = DDL(statement)  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", made.execute_if(dialect=dialect))


_KEPT = "the audit trail is added to only"
for _what in ("UPDATE", "DELETE"):
    _refuse = (
        f"CREATE TRIGGER audit_no_{_what.lower()} BEFORE {_what} ON audit "
        f"BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END"
    )
    _on(audit, "sqlite", _refuse)
for _statement in (
    "CREATE OR REPLACE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_KEPT}'; END $$",
    "CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()",
):
    _on(audit, "postgresql", _statement)
