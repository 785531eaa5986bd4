"""Where the engine keeps which columnar revisions it has."""

from typing import Final

from chainstrata.model.columnar import ColumnarColumn, ColumnarTable

HISTORY: Final = ColumnarTable(
    "strata__migration",
    [
        ColumnarColumn("revision", "String", "Name of the revision."),
        ColumnarColumn("pack", "LowCardinality(String)", "Its pack."),
        ColumnarColumn("checksum", "String", "SHA-256 of its text as it ran."),
        ColumnarColumn("status", "LowCardinality(String)", "running, failed, applied, or gone: undone."),
        ColumnarColumn("at", "DateTime64(6, 'UTC')", "When this became so; of one revision the latest stands."),
        ColumnarColumn("seconds", "Float64", "How long it took."),
        ColumnarColumn("error", "String", "Why it failed."),
    ],
    "ReplacingMergeTree(at)",
    ["revision"],
    doc="Columnar revisions and how they stand.",
)
