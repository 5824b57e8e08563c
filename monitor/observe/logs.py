"""Structured logs on stderr: one line per event, no values of records, nothing that a terminal obeys."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Final, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

#: Control characters apart from the line break that ends a traceback's lines: ANSI escapes, CR, NUL…
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_EXCEPTION_KEYS: Final = frozenset({"exception"})


def neutralise(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace what could move a terminal's cursor or forge a second log line."""
    for key, value in event.items():
        if isinstance(value, str):
            clean = _CONTROL.sub("\ufffd", value)
            event[key] = clean if key in _EXCEPTION_KEYS else clean.replace("\n", "\ufffd")
    return event


def configure_logs(log_format: Literal["console", "json"], *, level: int = logging.INFO) -> None:
    """Send our own log lines and, from WARNING on, those of Faust and aiokafka to stderr.

    Tracebacks never show local variables: they could hold records.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if log_format == "json":
        renderer = [
            structlog.processors.format_exc_info,
            neutralise,
            structlog.processors.JSONRenderer(sort_keys=False),
        ]
    else:
        renderer = [
            structlog.processors.format_exc_info,
            neutralise,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_arguments],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("monitor").setLevel(level)
    # Faust logs the start and end of each of its parts under the name of our subclass.
    for library in ("faust", "mode", "monitor.stream.chunks"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Each rebalance is an error to it; we log assignments ourselves.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)


def _without_arguments(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep the text of a library's log line, which names topics and groups only."""
    event.pop("positional_args", None)
    return event
