"""Where the log goes: the node's to a file in its home, and what matters to stderr as well; a command's nowhere unless asked for."""

import logging
import logging.handlers
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
_TIME: Final = "%Y-%m-%dT%H:%M:%S"
_BYTES: Final = 10 * 1024 * 1024
_KEPT: Final = 5
# Libraries whose warnings are worth a line; their chatter is not.
_OTHERS: Final = ("uvicorn", "psycopg", "asyncio", "alembic", "procrastinate")


class _Formatter(logging.Formatter):
    """Times in UTC, as everywhere. A person at the terminal gets the message alone, the file the traceback too."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__(_FORMAT, _TIME)
        self.converter = time.gmtime
        self._traces = traces

    def formatException(self, ei: Any) -> str:  # noqa: N802  # the base class's name
        return super().formatException(ei) if self._traces else "(the log file has the details)"


@contextmanager
def logging_to(directory: Path, level: str) -> Iterator[Path]:
    """Log to `node.log` in the directory until the block ends. Warnings go to stderr too; to a person's terminal errors alone."""
    path = directory / "node.log"
    file = logging.handlers.RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8")
    path.chmod(0o600)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.DEBUG if level == "debug" else logging.ERROR if sys.stderr.isatty() else logging.WARNING)
    for handler in (file, terminal):
        handler.setFormatter(_Formatter(traces=handler is file))
    ours = logging.getLogger("chainstrata")
    loggers = [ours, *map(logging.getLogger, _OTHERS)]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [file, terminal]
        logger.setLevel(level.upper() if logger is ours else logging.WARNING)
        logger.propagate = False
    try:
        yield path
    finally:
        for logger, old, propagate, handlers in before:
            logger.handlers[:] = handlers
            logger.setLevel(old)
            logger.propagate = propagate
        file.close()
