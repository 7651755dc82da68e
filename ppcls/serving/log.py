"""One JSON object a line on standard error: requests, models coming and going, faults."""

import json
import logging
import sys
import time
from typing import Any, Optional

logger = logging.getLogger("ppcls.serving")


class JsonFormatter(logging.Formatter):
    """The message as `event`, and what the record carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log(
    event: str, level: int = logging.INFO, error: Optional[BaseException] = None, **fields: Any
):
    """Writes one line; `error` adds its traceback, which no client ever sees."""
    logger.log(level, event, extra={"fields": fields}, exc_info=error)


def init_log() -> None:
    """Sends the server's lines, those of uvicorn and gRPC too, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("ppcls", "uvicorn", "grpc"):
        target = logging.getLogger(name)
        target.handlers[:] = [handler]
        target.propagate = False
        target.setLevel(logging.INFO)
