"""Carries the changes out, each so that it can be cut short anywhere and simply be run again.

The connection is one of `maintenance()`, which keeps a second worker away and closes afterwards.
"""

from dataclasses import replace
from time import monotonic
from typing import Final

from psycopg import sql

from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.errors import DeadlockDetected, LockNotAvailable
from chainstrata.engines.postgres.maintenance import Patience, change, pause, set_lock_timeout
from chainstrata.engines.postgres.partitioning import ddl
from chainstrata.engines.postgres.partitioning.catalog import QUERIES
from chainstrata.engines.postgres.partitioning.model import Partition

BOUND_CHECK: Final = "partition_bounds"
"""Name of the check that stands in while a table with rows is attached."""


async def create(
    connection: Connection, parent: sql.Identifier, partition: Partition, patience: Patience, *, fillfactor: int = 100
) -> None:
    """Make a partition and attach it, in one transaction."""

    async def work() -> None:
        for statement in ddl.create(parent, partition, fillfactor):
            await connection.execute(statement)

    await change(connection, work, patience)


async def attach(connection: Connection, parent: sql.Identifier, partition: Partition, column: str, patience: Patience) -> None:
    """Attach a table that has rows already.

    The check is added first and alone, because that reads the whole table; the attachment then trusts it.
    """

    async def prove() -> None:
        await connection.execute(ddl.drop_constraint(partition, BOUND_CHECK))
        await connection.execute(ddl.add_bound_check(partition, column, BOUND_CHECK))

    async def join() -> None:
        await connection.execute(ddl.attach(parent, partition))
        await connection.execute(ddl.drop_constraint(partition, BOUND_CHECK))

    await change(connection, prove, patience)
    await change(connection, join, patience)


async def detach(connection: Connection, parent: sql.Identifier, partition: Partition, patience: Patience) -> None:
    """Detach a partition without locking readers or writers out; finish one that was cut short. Done already: nothing.

    Waits for every transaction that still uses the partition, at most until the deadline of `patience`.
    """
    deadline = monotonic() + patience.deadline
    timeout = patience.first
    while (state := await connection.fetch_one(QUERIES.detach_state, {"oid": partition.oid})) is not None:
        await set_lock_timeout(connection, timeout, local=False)
        try:
            await connection.execute(ddl.finalize(parent, partition) if state.detaching else ddl.detach(parent, partition))
        except (LockNotAvailable, DeadlockDetected):
            if monotonic() >= deadline:
                raise
            await pause(timeout)
            timeout = min(patience.longest, 2 * timeout)
    await set_lock_timeout(connection, 0, local=False)


async def drop(connection: Connection, partition: Partition, patience: Patience) -> None:
    """Drop a detached partition, by what it is and not by its name. Gone already: nothing.

    What depends on it makes this fail; it never goes with it.
    """

    async def work() -> None:
        found = await connection.fetch_one(QUERIES.name_of, {"oid": partition.oid})
        if found is not None:
            await connection.execute(ddl.drop(replace(partition, schema=found.schema, name=found.name)))

    await change(connection, work, patience)
