"""create initial schema."""

from chainstrata.model.columnar import (
    ColumnarColumn,
    ColumnarTable,
    Create,
)

CHANGES = [
    Create(
        item=ColumnarTable(
            name="strata__stale_buckets",
            columns=[
                ColumnarColumn(name="mark", type="UUID", doc="One note."),
                ColumnarColumn(name="dataset", type="LowCardinality(String)", doc="Dataset whose rows were about to be written."),
                ColumnarColumn(name="lo", type="DateTime64(6, 'UTC')", doc="Earliest of them."),
                ColumnarColumn(name="hi", type="DateTime64(6, 'UTC')", doc="Latest of them."),
                ColumnarColumn(name="at", type="DateTime64(6, 'UTC')", doc="When the note was made."),
                ColumnarColumn(name="done", type="UInt8", doc="1: what is kept of the rows was computed anew."),
            ],
            engine="ReplacingMergeTree(done)",
            order_by=["mark"],
            ttl="toDateTime(at) + INTERVAL 7 DAY DELETE WHERE done = 1",
            doc="Buckets a batch was about to touch; a note that is not done says that they may be stale.",
        ),
    ),
    Create(
        item=ColumnarTable(
            name="strata__cdc_position",
            columns=[
                ColumnarColumn(name="dataset", type="String", doc="Mirrored dataset, by full name."),
                ColumnarColumn(name="lsn", type="UInt64", doc="The mirror has everything that was committed before this position."),
                ColumnarColumn(name="system", type="String", doc="Server whose log that is a position of."),
                ColumnarColumn(name="timeline", type="UInt32", doc="Its timeline."),
                ColumnarColumn(name="revision", type="UInt64", doc="Nanoseconds since 1970; the newest stands."),
            ],
            engine="ReplacingMergeTree(revision)",
            order_by=["dataset"],
            doc="One row per mirror: how far it is, written after its rows.",
        ),
    ),
]
