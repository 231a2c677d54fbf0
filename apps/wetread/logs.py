"""Log lines on stderr: coloured for a person, JSON for a machine. Never a patient's name or ID."""

from __future__ import annotations

import logging
import sys
import warnings

import structlog


def configure_logs(*, verbose: bool = False) -> None:
    """Send events of INFO and above (DEBUG if `verbose`) to stderr; JSON when it is no terminal."""
    level = logging.DEBUG if verbose else logging.INFO
    as_json = not sys.stderr.isatty()
    renderer = structlog.processors.JSONRenderer() if as_json else _for_a_person()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    _silence_libraries()


def _for_a_person() -> structlog.dev.ConsoleRenderer:
    # structlog's own choice prints every local variable of a traceback: whole headers of patients.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _silence_libraries() -> None:
    # pydicom and pynetdicom repeat the values that they complain about, names among them.
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
