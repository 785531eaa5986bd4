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
]
