"""The platform's own table in the columnar engine: which buckets an interrupted batch may have left stale."""

from chainstrata.model.columnar import ColumnarColumn, ColumnarTable

MARKS = ColumnarTable(
    "strata__stale_buckets",
    [
        ColumnarColumn("mark", "UUID", "One note."),
        ColumnarColumn("dataset", "LowCardinality(String)", "Dataset whose rows were about to be written."),
        ColumnarColumn("lo", "DateTime64(6, 'UTC')", "Earliest of them."),
        ColumnarColumn("hi", "DateTime64(6, 'UTC')", "Latest of them."),
        ColumnarColumn("at", "DateTime64(6, 'UTC')", "When the note was made."),
        ColumnarColumn("done", "UInt8", "1: what is kept of the rows was computed anew."),
    ],
    "ReplacingMergeTree(done)",
    ["mark"],
    ttl="toDateTime(at) + INTERVAL 7 DAY DELETE WHERE done = 1",
    doc="Buckets a batch was about to touch; a note that is not done says that they may be stale.",
)
