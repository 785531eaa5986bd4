"""Chunks of hypertables stored by columns.

TimescaleDB deletes whole batches of a compressed chunk without looking at their rows, unless a trigger wants to see each. So it
allows no trigger that gets the deleted rows as a table, which is how roll-ups learn of them. Where chunks are compressed they learn
of them one by one.
"""

from psycopg import sql

from chainstrata.engines.postgres.partitioning import ddl
from chainstrata.model import TimedTable
from chainstrata.model.marking import marking_doc
from chainstrata.partitions.model import Action, Step


def compression(step: Step) -> list[sql.Composed]:
    """Return the statements that prepare a hypertable for compression, or compress a chunk. Together in one transaction."""
    if step.action is Action.COMPRESS:
        return [ddl.compress(step.partition)]
    table = step.table
    parent = sql.Identifier(table.schema, table.table)
    # A roll-up's own rows are marked by whoever folds them.
    watched = table.feeds and table.name.count(".") == 1
    return [*(_watch_deletions(table, parent) if watched else []), ddl.allow_compression(parent, table.entity, table.column)]


def _watch_deletions(table: TimedTable, parent: sql.Identifier) -> list[sql.Composed]:
    trigger = sql.Identifier(f"{table.table}__mark_delete")
    return [
        sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(trigger, parent),
        sql.SQL("CREATE TRIGGER {} AFTER DELETE ON {} FOR EACH ROW EXECUTE FUNCTION strata.mark_deleted({}, {})").format(
            trigger, parent, sql.Literal(sql.Identifier(table.schema, f"{table.table}__dirty").as_string()), sql.Literal(table.column)
        ),
        sql.SQL("COMMENT ON TRIGGER {} ON {} IS {}").format(trigger, parent, sql.Literal(marking_doc(table.name))),
    ]
