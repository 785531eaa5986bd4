"""The platform's own tables in the columnar engine: buckets that an interrupted batch may have left stale, and how far mirrors are."""

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

POSITIONS = ColumnarTable(
    "strata__cdc_position",
    [
        ColumnarColumn("dataset", "String", "Mirrored dataset, by full name."),
        ColumnarColumn("lsn", "UInt64", "The mirror has everything that was committed before this position."),
        ColumnarColumn("system", "String", "Server whose log that is a position of."),
        ColumnarColumn("timeline", "UInt32", "Its timeline."),
        ColumnarColumn("revision", "UInt64", "Nanoseconds since 1970; the newest stands."),
    ],
    "ReplacingMergeTree(revision)",
    ["dataset"],
    doc="One row per mirror: how far it is, written after its rows.",
)
