"""Work on tables that others are using: one worker at a time, and never in anybody's way for long.

A change of a table waits for its lock behind whoever holds it, and everybody who comes later waits behind the change. So
it waits only briefly, gives way, and tries again; `Patience` says how briefly and for how long in all.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeVar

from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.database import Database
from chainstrata.engines.postgres.errors import DeadlockDetected, LockNotAvailable, PostgresError
from chainstrata.engines.postgres.waiting import happened

T = TypeVar("T")
_PACE: Final = 0.1


class MaintenanceBusy(PostgresError):
    """Another worker is at the same thing."""

    code = "maintenance_busy"
    retryable = True
    http_status = 409

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(
            f"another worker holds {name!r} (waited {seconds:g} s)",
            hint="Nothing was changed. Let it finish; pg_locks names it by its advisory lock.",
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """How a change waits for its locks, in seconds: `first` at the first try, twice as long each time up to `longest`.

    `longest` is the longest anybody queues behind the change. After `deadline` it fails with `LockNotAvailable`.
    """

    first: float = 0.05
    longest: float = 0.4
    deadline: float = 600.0


@asynccontextmanager
async def maintenance(database: Database) -> AsyncIterator[Connection]:
    """A connection for changes of tables: a session of its own, without statement timeout."""
    async with database.session() as connection:
        await connection.execute("SET statement_timeout = 0")
        yield connection


@asynccontextmanager
async def exclusive(connection: Connection, name: str, *, wait: float = 30.0) -> AsyncIterator[None]:
    """Hold the advisory lock called `name` while the block runs; raise `MaintenanceBusy` when another has it for too long.

    Tried again and again, never by waiting in the server: a waiting session would hold up concurrent detachments.
    """
    key = {"name": f"chainstrata.{name}"}
    deadline = monotonic() + wait
    while not await connection.fetch_value("SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0))", key):
        if monotonic() >= deadline:
            raise MaintenanceBusy(name, wait)
        await pause(_PACE)
    try:
        yield
    finally:
        # A broken connection has let go of it already.
        if not connection.driver.closed:
            await connection.execute("SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))", key)


async def change(connection: Connection, work: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Run `work` in a transaction of its own on this connection, again and again until it gets its locks.

    `work` must not keep effects outside the transaction. Raises `LockNotAvailable` after the deadline.
    """
    deadline = monotonic() + patience.deadline
    timeout = patience.first
    while True:
        try:
            async with connection.begin():
                await set_lock_timeout(connection, timeout, local=True)
                return await work()
        except (LockNotAvailable, DeadlockDetected):
            if monotonic() >= deadline:
                raise
        # Longer than the wait was, so that those who queued behind us get through in between.
        await pause(2 * timeout * random.uniform(0.5, 1.5))  # noqa: S311
        timeout = min(patience.longest, 2 * timeout)


async def set_lock_timeout(connection: Connection, seconds: float, *, local: bool) -> None:
    """Limit how long statements wait for a lock, in this transaction or in this session; 0 for no limit."""
    value = f"{max(1, round(seconds * 1000))}ms" if seconds else "0"
    await connection.execute("SELECT set_config('lock_timeout', %(value)s, %(local)s)", {"value": value, "local": local})


async def pause(seconds: float) -> None:
    """Let time pass between two tries. Cancelling the task ends it at once."""
    await happened(asyncio.Event(), seconds)
