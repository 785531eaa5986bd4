"""Tables of what leaves: archives, partitions on their way out, and what is held back."""

import sqlalchemy as sa

from chainstrata.model import INSTANT, Dataset, check, column, index, reference, unique
from chainstrata.model.columns import SYSTEM_SCHEMA
from chainstrata.packs.strata.tables import METADATA

archive = sa.Table(
    "archive",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the archive."),
    column("dataset", sa.Text, doc="Dataset or roll-up whose rows it holds, by full name."),
    column("table_schema", sa.Text, doc="Schema of the table they came from."),
    column("table_name", sa.Text, doc="Table or partition they came from."),
    column("lower_bound", INSTANT, doc="No row in it is older."),
    column("upper_bound", INSTANT, doc="All rows in it are older."),
    column("rows", sa.BigInteger, nullable=True, doc="Rows in it."),
    column("size_bytes", sa.BigInteger, nullable=True, doc="Size of its files."),
    column("url", sa.Text, doc="Storage it is in."),
    column("directory", sa.Text, doc="Its directory there."),
    column("manifest_sha256", sa.Text, nullable=True, doc="SHA-256 of its manifest, which has that of everything else."),
    column("state", sa.Text, doc="writing; ready beside its rows; serving once they left; restored beside them again; deleting; deleted."),
    column("written_at", INSTANT, nullable=True, doc="When it was written, read back and found equal to the rows."),
    column("verified_at", INSTANT, nullable=True, doc="When it was last read back and found whole."),
    column("settled_at", INSTANT, nullable=True, doc="When it came into its present state."),
    sa.PrimaryKeyConstraint("id", name="archive_pkey"),
    check("archive_state_known", "state IN ('writing', 'ready', 'serving', 'restored', 'deleting', 'deleted')"),
    check("archive_bounds", "lower_bound <= upper_bound"),
    check("archive_whole", "state = 'writing' OR (rows IS NOT NULL AND manifest_sha256 IS NOT NULL) OR state IN ('deleting', 'deleted')"),
    unique("archive_directory_key", "url", "directory"),
    index("idx_archive_dataset", "dataset", "lower_bound", why="The archives of a dataset for a span of time."),
    comment="One row per archive: a partition's rows, or a batch of aged rows, in files that were read back.",
)
departure = sa.Table(
    "departure",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the departure."),
    column("dataset", sa.Text, doc="Dataset or roll-up, by full name."),
    column("table_schema", sa.Text, doc="Schema of the partition."),
    column("table_name", sa.Text, doc="The partition."),
    column("lower_bound", INSTANT, doc="Where the partition begins."),
    column("upper_bound", INSTANT, doc="Where it ends."),
    column("sealed_at", INSTANT, server_default=sa.func.now(), doc="Since when its rows cannot change."),
    column("sealed_lsn", sa.Text, doc="Position of the log at which they could not: a mirror beyond it has them all."),
    column("archive_id", sa.BigInteger, nullable=True, doc="Archive that holds its rows; none when it had none or none is wanted."),
    column("archived_at", INSTANT, nullable=True, doc="When the rows were archived, or found to need no archive."),
    column("released_at", INSTANT, nullable=True, doc="When everything that needs the rows let go of them."),
    column("dropped_at", INSTANT, nullable=True, doc="When the partition was dropped."),
    column("abandoned_at", INSTANT, nullable=True, doc="When it was called off: the rows are to be kept longer after all."),
    column("rows", sa.BigInteger, nullable=True, doc="Rows that left."),
    column("size_bytes", sa.BigInteger, nullable=True, doc="Room they took in the database."),
    sa.PrimaryKeyConstraint("id", name="departure_pkey"),
    reference("fk_departure_archive", ["archive_id"], [f"{SYSTEM_SCHEMA}.archive.id"]),
    check("departure_in_order", "(dropped_at IS NULL OR released_at IS NOT NULL) AND (released_at IS NULL OR archived_at IS NOT NULL)"),
    index(
        "departure_open_key",
        "table_schema",
        "table_name",
        unique=True,
        postgresql_where=sa.text("dropped_at IS NULL AND abandoned_at IS NULL"),
        why="A partition leaves once at a time; the one under way is looked up by its name.",
    ),
    index("idx_departure_archive", "archive_id", why="The departure an archive belongs to."),
    comment="One row per partition that left, or is on its way out: how far it is.",
)
hold = sa.Table(
    "hold",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the hold."),
    column("dataset", sa.Text, doc="Dataset or roll-up, by full name."),
    column("lower_bound", INSTANT, doc="Rows from here on are held."),
    column("upper_bound", INSTANT, doc="Rows from here on are not."),
    column("reason", sa.Text, doc="Why, for whoever wonders that they do not leave."),
    column("until", INSTANT, nullable=True, doc="When it ends by itself; never when empty."),
    column("created_at", INSTANT, server_default=sa.func.now(), doc="When it was placed."),
    column("released_at", INSTANT, nullable=True, doc="When it was lifted."),
    sa.PrimaryKeyConstraint("id", name="hold_pkey"),
    check("hold_bounds", "lower_bound < upper_bound"),
    index("idx_hold_dataset", "dataset", postgresql_where=sa.text("released_at IS NULL"), why="The holds on a dataset."),
    comment="One row per span of time whose rows are kept, whatever their age.",
)

DATASETS: tuple[Dataset, ...] = (
    Dataset(archive, name="archives"),
    Dataset(departure, name="departures"),
    Dataset(hold, name="holds"),
)
