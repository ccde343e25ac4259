"""Structured logs: standard loggers, constant sentences, values in ``extra``.

One JSON object a line, or by structlog as columns for people. Secrets never reach a log:
settings that hold them are files, and no message is logged whole.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

# What every record has, and what is ours to say; the rest came as `extra`.
_OF_ALL: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", "event"),
}


def configure_logging(*, service: str, level: str, style: str) -> None:
    """Send every record of this process to standard error. Called by ``main`` only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if style == "json" else _columns(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("nats").setLevel("WARNING")
    logging.getLogger("aiohttp.access").setLevel("WARNING")


class JsonLines(logging.Formatter):
    """One object a line; what is not JSON's own is told as text."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {"event": record.getMessage()}
        told |= {key: it for key, it in vars(record).items() if key not in _OF_ALL}
        told |= {
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
        }
        if record.stack_info:
            told["stack_info"] = record.stack_info
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told | {"service": self._service}, default=str)


def _columns(service: str) -> logging.Formatter:
    # Imported here: with what it brings it takes 4 MiB of every process that writes JSON.
    import structlog

    def add_service(
        logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            add_service,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
    )
