"""The statements of a departure: sealing a partition, and deleting rows of a plain table."""

from typing import Final

from psycopg import sql

from chainstrata.engines.postgres.partitioning import Partition, ddl

SEAL: Final = "strata_sealed"
SEAL_TRUNCATE: Final = "strata_sealed_truncate"


def seal(partition: Partition) -> list[sql.Composed]:
    """Return what makes a partition's rows unchangeable. Together in one transaction.

    By trigger, because that asks for SHARE ROW EXCLUSIVE on the partition: it waits for writers of this partition, and no
    reader waits for it. ALWAYS, so that a session that replays replication cannot slip past.

    TimescaleDB allows a chunk the first of them alone; TRUNCATE is refused by a trigger of the hypertable.
    """
    table = ddl.identifier(partition)
    rows = sql.SQL(
        "CREATE TRIGGER {seal} BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION strata.refuse_sealed()"
    )
    whole = sql.SQL("CREATE TRIGGER {seal} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION strata.refuse_sealed()")
    if partition.chunked_by:
        return [rows.format(seal=sql.Identifier(SEAL), table=table)]
    always = sql.SQL("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {seal}")
    return [
        rows.format(seal=sql.Identifier(SEAL), table=table),
        whole.format(seal=sql.Identifier(SEAL_TRUNCATE), table=table),
        always.format(seal=sql.Identifier(SEAL), table=table),
        always.format(seal=sql.Identifier(SEAL_TRUNCATE), table=table),
    ]


def unseal(partition: Partition) -> list[sql.Composed]:
    """Return what lets rows change again. Dropping a trigger locks the partition for a moment, readers too."""
    drop = sql.SQL("DROP TRIGGER IF EXISTS {seal} ON {table}")
    return [drop.format(seal=sql.Identifier(name), table=ddl.identifier(partition)) for name in (SEAL, SEAL_TRUNCATE)]
