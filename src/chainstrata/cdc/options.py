"""How capturing is done, from the settings."""

from dataclasses import dataclass

from chainstrata.config import (
    CDC_BATCH_BYTES,
    CDC_BATCH_DELAY,
    CDC_COPY_ROWS,
    CDC_COPY_WORKERS,
    CDC_DEAD_LETTERS,
    CDC_HEARTBEAT,
    CDC_KEPT_MB,
    CDC_SLOT,
    Config,
)


@dataclass(frozen=True, slots=True)
class Options:
    """Durations are in seconds."""

    slot: str = ""
    batch_bytes: int = 8 * 1024 * 1024
    batch_delay: float = 0.2
    heartbeat: float = 10.0
    most_dead: int = 1000
    most_kept_bytes: int = 4096 * 1024 * 1024
    copy_rows: int = 200_000
    copy_workers: int = 2
    lock_every: float = 5.0
    look_every: float = 0.5
    spool_directory: str | None = None

    @classmethod
    def from_config(cls, config: Config) -> "Options":
        return cls(
            slot=config[CDC_SLOT],
            batch_bytes=config[CDC_BATCH_BYTES],
            batch_delay=config[CDC_BATCH_DELAY].total_seconds(),
            heartbeat=config[CDC_HEARTBEAT].total_seconds(),
            most_dead=config[CDC_DEAD_LETTERS],
            most_kept_bytes=config[CDC_KEPT_MB] * 1024 * 1024,
            copy_rows=config[CDC_COPY_ROWS],
            copy_workers=config[CDC_COPY_WORKERS],
        )
