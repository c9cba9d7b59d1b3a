"""Log of the service on standard error: a JSON object or a line of text for each record."""

import json
import logging
import sys
from datetime import datetime, timezone

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("json", "text")


def configure(level: str, form: str) -> None:
    """Write records of the package and of the server.

    Args:
        level: one of `LEVELS`; with `warning` requests leave no lines.
        form: one of `FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_is_of_use)
    for name in ("tfrecall", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    # It tells of each connection and of its own start, beside our lines.
    logging.getLogger("uvicorn").setLevel("WARNING")


def _is_of_use(record: logging.LogRecord) -> bool:
    """Not the server's account of a start that failed, which the command explains itself."""
    return not (
        record.name == "uvicorn.error" and record.exc_info is None and record.levelname == "ERROR"
    )


def _facts(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


class _Json(logging.Formatter):
    """Fields of a record in one object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    """A line for people; signs that are not printable are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower()} {record.getMessage()} {facts}".rstrip()
        safe = line.encode("unicode_escape").decode() if not line.isprintable() else line
        stack = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return safe + stack
