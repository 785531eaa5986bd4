"""Where the job queue is kept. Its tables are procrastinate's own; the pack `strata` says at which version."""

from typing import Final

QUEUE_SCHEMA: Final = "procrastinate"
