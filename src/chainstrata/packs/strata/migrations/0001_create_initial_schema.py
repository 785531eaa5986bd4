"""Create initial schema."""

import sqlalchemy as sa

from chainstrata.migrate import op, pgtype

revision = "strata_0001"
down_revision = None
branch_labels = ("strata",)
depends_on = None


def upgrade() -> None:
    op.comment_on("schema", "strata", "The platform's own tables.")
    op.create_queue(
        "03.04.00_50_post_add_retry_failed_job_procedure",
        sha256="2791905db7d431b45f5ecef4d88d47f81abf0a725a3411629cd71a5d0be1c21d",
    )
    op.create_domain(
        "strata.uint256",
        "numeric(78,0)",
        checks={"uint256_range": "VALUE >= 0 AND VALUE <= 115792089237316195423570985008687907853269984665640564039457584007913129639935"},
    )
    op.create_domain("strata.uint64", "numeric(20,0)", checks={"uint64_range": "VALUE >= 0 AND VALUE <= 18446744073709551615"})
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the key."),
        sa.Column("name", sa.Text(), nullable=False, comment="Who or what it was made for; what it writes is recorded under this name."),
        sa.Column("prefix", sa.Text(), nullable=False, comment="Open part of the key, by which it is found and told from others."),
        sa.Column(
            "hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the whole key. It holds 256 random bits, so nobody finds it from this.",
        ),
        sa.Column("role", sa.Text(), nullable=False, comment="What it may do: read, write as well, or everything (admin)."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When it was made."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it ends by itself; never when empty."),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was taken back."),
        sa.PrimaryKeyConstraint("id", name="api_key_pkey"),
        sa.UniqueConstraint("prefix", name="api_key_prefix_key"),
        sa.CheckConstraint("length(hash) = 32", name="api_key_hash_whole"),
        sa.CheckConstraint("role IN ('read', 'write', 'admin')", name="api_key_role_known"),
        schema="strata",
        comment="One row per key of the API. A key is taken back, never deleted, so that the record of writes stays readable.",
    )
    op.create_index(
        "api_key_name_key",
        "api_key",
        ["name"],
        schema="strata",
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
        comment="A name stands for one key at a time.",
    )
    op.create_table(
        "archive",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the archive."),
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset or roll-up whose rows it holds, by full name."),
        sa.Column("table_schema", sa.Text(), nullable=False, comment="Schema of the table they came from."),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Table or partition they came from."),
        sa.Column("lower_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="No row in it is older."),
        sa.Column("upper_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="All rows in it are older."),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows in it."),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True, comment="Size of its files."),
        sa.Column("url", sa.Text(), nullable=False, comment="Storage it is in."),
        sa.Column("directory", sa.Text(), nullable=False, comment="Its directory there."),
        sa.Column("manifest_sha256", sa.Text(), nullable=True, comment="SHA-256 of its manifest, which has that of everything else."),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="writing; ready beside its rows; serving once they left; restored beside them again; deleting; deleted.",
        ),
        sa.Column(
            "written_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was written, read back and found equal to the rows.",
        ),
        sa.Column("verified_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was last read back and found whole."),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it came into its present state."),
        sa.PrimaryKeyConstraint("id", name="archive_pkey"),
        sa.UniqueConstraint("url", "directory", name="archive_directory_key"),
        sa.CheckConstraint("lower_bound <= upper_bound", name="archive_bounds"),
        sa.CheckConstraint("state IN ('writing', 'ready', 'serving', 'restored', 'deleting', 'deleted')", name="archive_state_known"),
        sa.CheckConstraint(
            "state = 'writing' OR (rows IS NOT NULL AND manifest_sha256 IS NOT NULL) OR state IN ('deleting', 'deleted')",
            name="archive_whole",
        ),
        schema="strata",
        comment="One row per archive: a partition's rows, or a batch of aged rows, in files that were read back.",
    )
    op.create_index(
        "idx_archive_dataset",
        "archive",
        ["dataset", "lower_bound"],
        schema="strata",
        comment="The archives of a dataset for a span of time.",
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False, comment="Random name of the entry, so that the same one is never written twice."),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it was asked."),
        sa.Column("actor", sa.Text(), nullable=False, comment="Name of the key, or who ran the command."),
        sa.Column("key_id", sa.BigInteger(), nullable=True, comment="Key it was asked with; none for a command."),
        sa.Column("request", sa.Text(), nullable=False, comment="ID of the request, as its answer and the log bear it."),
        sa.Column("action", sa.Text(), nullable=False, comment="What was asked, as ingest or keys.create."),
        sa.Column("object", sa.Text(), nullable=False, comment="What it was asked of: a dataset by full name, a key; empty for the whole."),
        sa.Column("outcome", sa.Text(), nullable=False, comment="begun while it is not known; done, refused or failed."),
        sa.Column("detail", pgtype("jsonb"), nullable=True, comment="What became of it: counts, or the code and message of the error."),
        sa.Column(
            "settled_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the outcome was known. Stays empty where the process ended on the way.",
        ),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
        sa.CheckConstraint("outcome IN ('begun', 'done', 'refused', 'failed')", name="audit_outcome_known"),
        sa.CheckConstraint("(outcome = 'begun') = (settled_at IS NULL)", name="audit_settled"),
        schema="strata",
        comment="One row per write that was asked over HTTP, and per key made or taken back: who, what, when, and what became of it.",
    )
    op.create_index("idx_audit_at", "audit", ["at"], schema="strata", comment="The newest entries, and those old enough to leave.")
    op.create_table(
        "cdc_chunk",
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset that is copied, by full name."),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the piece."),
        sa.Column("lower", pgtype("jsonb"), nullable=True, comment="Key the piece begins at, as texts; none: at the first row."),
        sa.Column("upper", pgtype("jsonb"), nullable=True, comment="Key it ends before, as texts; none: after the last row."),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows in it."),
        sa.Column("done_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was in the mirror."),
        sa.PrimaryKeyConstraint("dataset", "number", name="cdc_chunk_pkey"),
        schema="strata",
        comment="One piece of the copy a mirror begins with, so that a copy that was cut short goes on where it was.",
    )
    op.create_table(
        "cdc_dataset",
        sa.Column("dataset", sa.Text(), nullable=False, comment="Mirrored dataset, by full name."),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="waiting for its copy, copying, streaming, paused by a person, stopped by a problem, lost, or ended for good.",
        ),
        sa.Column(
            "since",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it came into this state.",
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="What stopped it, or what is tried again, as a code."),
        sa.Column("error", sa.Text(), nullable=True, comment="The same for people."),
        sa.Column("hint", sa.Text(), nullable=True, comment="What to do about it."),
        sa.Column("copied_rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Rows of the copy so far."),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Changes carried over since the copy."),
        sa.Column(
            "dead_letters",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Changes that could not be carried over since the copy.",
        ),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Tries that failed and were made again."),
        sa.Column("applied_lsn", sa.Text(), nullable=True, comment="Position of the log up to which the mirror has everything."),
        sa.Column("applied_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When that was noted."),
        sa.Column("lag_p50", sa.Double(), nullable=True, comment="Seconds from commit to mirror, half of the last transactions took less."),
        sa.Column("lag_p95", sa.Double(), nullable=True, comment="The same for 95 of 100."),
        sa.Column("lag_p99", sa.Double(), nullable=True, comment="The same for 99 of 100."),
        sa.Column(
            "origin",
            pgtype("jsonb"),
            nullable=True,
            comment="What its rows are read from: the table, its entry in the publication, its columns.",
        ),
        sa.PrimaryKeyConstraint("dataset", name="cdc_dataset_pkey"),
        sa.CheckConstraint(
            "state IN ('waiting', 'copying', 'streaming', 'paused', 'stopped', 'lost', 'ended')",
            name="cdc_dataset_state_known",
        ),
        schema="strata",
        comment="One row per mirrored dataset: how its mirror is kept, and how far it is.",
    )
    op.create_table(
        "cdc_dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the event."),
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset it belongs to, by full name."),
        sa.Column("sink", sa.Text(), nullable=False, comment="Who could not take it."),
        sa.Column("lsn", sa.Text(), nullable=False, comment="Position of its commit."),
        sa.Column("row_key", pgtype("jsonb"), nullable=False, comment="Key of the row, as texts."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was not taken, as a code."),
        sa.Column("detail", sa.Text(), nullable=False, comment="What exactly was wrong, for people."),
        sa.Column("content", pgtype("jsonb"), nullable=False, comment="The row, as texts."),
        sa.Column(
            "first_seen",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first put aside.",
        ),
        sa.Column("tries", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="How often it was tried."),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'held'::text"),
            nullable=False,
            comment="held, replayed once it was taken after all, or dropped by a person.",
        ),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was replayed or dropped."),
        sa.PrimaryKeyConstraint("id", name="cdc_dead_letter_pkey"),
        sa.CheckConstraint("(state = 'held') = (settled_at IS NULL)", name="cdc_dead_letter_settled"),
        sa.CheckConstraint("state IN ('held', 'replayed', 'dropped')", name="cdc_dead_letter_state_known"),
        schema="strata",
        comment="One event that a sink could not take, kept until it is replayed or dropped.",
    )
    op.create_index(
        "cdc_dead_letter_held_key",
        "cdc_dead_letter",
        ["dataset", "sink", "lsn", "row_key"],
        schema="strata",
        unique=True,
        postgresql_where=sa.text("state = 'held'"),
        comment="An event that comes again after a crash is counted where it stands.",
    )
    op.create_table(
        "dataset",
        sa.Column("name", sa.Text(), nullable=False, comment="Dataset, by full name."),
        sa.Column(
            "policy",
            pgtype("jsonb"),
            nullable=False,
            comment="Life cycle, roll-ups, mirror, cache and topic, as far as they are not the default.",
        ),
        sa.PrimaryKeyConstraint("name", name="dataset_pkey"),
        schema="strata",
        comment="One row per dataset: what the platform does with it, as of the last migration.",
    )
    op.create_table(
        "departure",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the departure."),
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset or roll-up, by full name."),
        sa.Column("table_schema", sa.Text(), nullable=False, comment="Schema of the partition."),
        sa.Column("table_name", sa.Text(), nullable=False, comment="The partition."),
        sa.Column("lower_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="Where the partition begins."),
        sa.Column("upper_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="Where it ends."),
        sa.Column(
            "sealed_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Since when its rows cannot change.",
        ),
        sa.Column(
            "sealed_lsn",
            sa.Text(),
            nullable=False,
            comment="Position of the log at which they could not: a mirror beyond it has them all.",
        ),
        sa.Column(
            "archive_id",
            sa.BigInteger(),
            nullable=True,
            comment="Archive that holds its rows; none when it had none or none is wanted.",
        ),
        sa.Column(
            "archived_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the rows were archived, or found to need no archive.",
        ),
        sa.Column("released_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When everything that needs the rows let go of them."),
        sa.Column("dropped_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When the partition was dropped."),
        sa.Column(
            "abandoned_at",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was called off: the rows are to be kept longer after all.",
        ),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Rows that left."),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True, comment="Room they took in the database."),
        sa.PrimaryKeyConstraint("id", name="departure_pkey"),
        sa.ForeignKeyConstraint(["archive_id"], ["strata.archive.id"], name="fk_departure_archive"),
        sa.CheckConstraint(
            "(dropped_at IS NULL OR released_at IS NOT NULL) AND (released_at IS NULL OR archived_at IS NOT NULL)",
            name="departure_in_order",
        ),
        schema="strata",
        comment="One row per partition that left, or is on its way out: how far it is.",
    )
    op.create_index(
        "departure_open_key",
        "departure",
        ["table_schema", "table_name"],
        schema="strata",
        unique=True,
        postgresql_where=sa.text("dropped_at IS NULL AND abandoned_at IS NULL"),
        comment="A partition leaves once at a time; the one under way is looked up by its name.",
    )
    op.create_index("idx_departure_archive", "departure", ["archive_id"], schema="strata", comment="The departure an archive belongs to.")
    op.create_table(
        "hold",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the hold."),
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset or roll-up, by full name."),
        sa.Column("lower_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="Rows from here on are held."),
        sa.Column("upper_bound", sa.TIMESTAMP(timezone=True), nullable=False, comment="Rows from here on are not."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, for whoever wonders that they do not leave."),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it ends by itself; never when empty."),
        sa.Column(
            "created_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was placed.",
        ),
        sa.Column("released_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was lifted."),
        sa.PrimaryKeyConstraint("id", name="hold_pkey"),
        sa.CheckConstraint("lower_bound < upper_bound", name="hold_bounds"),
        schema="strata",
        comment="One row per span of time whose rows are kept, whatever their age.",
    )
    op.create_index(
        "idx_hold_dataset",
        "hold",
        ["dataset"],
        schema="strata",
        postgresql_where=sa.text("released_at IS NULL"),
        comment="The holds on a dataset.",
    )
    op.create_table(
        "ingest_batch",
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset, by full name."),
        sa.Column("batch", sa.Text(), nullable=False, comment="Name the sender gave the batch."),
        sa.Column("answer", pgtype("jsonb"), nullable=True, comment="What became of the batch, as the sender was told."),
        sa.Column(
            "taken_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the batch was taken.",
        ),
        sa.PrimaryKeyConstraint("dataset", "batch", name="ingest_batch_pkey"),
        schema="strata",
        comment="One named batch that was taken, so that the same one sent again changes nothing.",
    )
    op.create_index(
        "idx_ingest_batch_taken_at",
        "ingest_batch",
        ["taken_at"],
        schema="strata",
        comment="Names of batches that are old enough to be forgotten.",
    )
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the job."),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it is to run next."),
        sa.Column("paused_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="Since when it is paused. NULL: it is not."),
        sa.PrimaryKeyConstraint("name", name="job_pkey"),
        schema="strata",
        comment="One row per job that comes round: when it is due.",
    )
    op.create_table(
        "job_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the run."),
        sa.Column("job", sa.Text(), nullable=False, comment="Job that ran."),
        sa.Column("asked_by", sa.Text(), nullable=False, comment="What it ran for: schedule, retry, command or api."),
        sa.Column("worker", sa.Text(), nullable=False, comment="Host and process that ran it."),
        sa.Column("queue_id", sa.BigInteger(), nullable=True, comment="Its number in the job queue. NULL: it ran where it was asked for."),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'running'::text"),
            nullable=False,
            comment="running, succeeded, failed, or lost when its worker ended before it did.",
        ),
        sa.Column("result", sa.Text(), nullable=True, comment="What it did, in a line."),
        sa.Column("error", sa.Text(), nullable=True, comment="Why it failed."),
        sa.Column("error_code", sa.Text(), nullable=True, comment="Code of the error."),
        sa.Column(
            "retryable",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the failure may pass, so that it is tried again before its time.",
        ),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When it began."),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it ended, or was found to have ended."),
        sa.PrimaryKeyConstraint("id", name="job_run_pkey"),
        sa.CheckConstraint("asked_by IN ('schedule', 'retry', 'command', 'api')", name="job_run_asked_by_known"),
        sa.CheckConstraint("state NOT IN ('failed', 'lost') OR error IS NOT NULL", name="job_run_failed_why"),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="job_run_finished"),
        sa.CheckConstraint("state IN ('running', 'succeeded', 'failed', 'lost')", name="job_run_state_known"),
        schema="strata",
        comment="One row per run of a job: for what, where, how long, and what came of it.",
    )
    op.create_index("idx_job_run_job", "job_run", ["job", "id"], schema="strata", comment="The last runs of a job.")
    op.create_index(
        "idx_job_run_started_at",
        "job_run",
        ["started_at"],
        schema="strata",
        comment="Runs that are old enough to be forgotten.",
    )
    op.create_index(
        "job_run_running_key",
        "job_run",
        ["job"],
        schema="strata",
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
        comment="The one run of a job that is under way; there is never a second.",
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Number of the row."),
        sa.Column("dataset", sa.Text(), nullable=False, comment="Dataset it was meant for, by full name."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was not taken, from a closed list."),
        sa.Column("detail", sa.Text(), nullable=False, comment="What exactly was wrong, for people."),
        sa.Column("content", pgtype("jsonb"), nullable=True, comment="The row, as far as it could be read as one."),
        sa.Column("original", sa.Text(), nullable=True, comment="The exact text it came as, where that is not the content itself."),
        sa.Column("source", sa.Text(), nullable=True, comment="Where it came from."),
        sa.Column("batch", sa.Text(), nullable=True, comment="Batch it came in, as the source names it."),
        sa.Column("row_time", sa.TIMESTAMP(timezone=True), nullable=True, comment="Time the row is about, where it could be read."),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the text: the same row refused again is counted, not kept again.",
        ),
        sa.Column(
            "first_seen",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first refused.",
        ),
        sa.Column(
            "last_seen",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last refused.",
        ),
        sa.Column("times", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="How often it was refused."),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'held'::text"),
            nullable=False,
            comment="held, replayed once it was taken after all, or dropped by a person.",
        ),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When it was replayed or dropped."),
        sa.PrimaryKeyConstraint("id", name="quarantine_pkey"),
        sa.CheckConstraint("content IS NOT NULL OR original IS NOT NULL", name="quarantine_kept"),
        sa.CheckConstraint(
            "reason IN ('no_partition', 'sealed', 'late', 'bad_value', 'constraint', 'duplicate', 'no_parent', 'malformed')",
            name="quarantine_reason_known",
        ),
        sa.CheckConstraint("(state = 'held') = (settled_at IS NULL)", name="quarantine_settled"),
        sa.CheckConstraint("state IN ('held', 'replayed', 'dropped')", name="quarantine_state_known"),
        schema="strata",
        comment="One row per different row that a dataset did not take, kept until it is replayed or dropped.",
    )
    op.create_index(
        "idx_quarantine_replay",
        "quarantine",
        ["dataset", "reason", "id"],
        schema="strata",
        postgresql_where=sa.text("state = 'held'"),
        comment="What is held, by dataset and reason: counts and replays.",
    )
    op.create_index(
        "quarantine_held_key",
        "quarantine",
        ["dataset", "fingerprint"],
        schema="strata",
        unique=True,
        postgresql_where=sa.text("state = 'held'"),
        comment="The same row refused again is counted where it stands.",
    )
    op.create_table(
        "rollup_source",
        sa.Column("source", sa.Text(), nullable=False, comment="Dataset or roll-up that roll-ups are folded from, by full name."),
        sa.Column(
            "gone_before",
            sa.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Rows before this have left; buckets before it are only merged into.",
        ),
        sa.PrimaryKeyConstraint("source", name="rollup_source_pkey"),
        schema="strata",
        comment="One row per source of roll-ups whose oldest rows have left.",
    )
    op.create_table(
        "rollup_state",
        sa.Column("rollup", sa.Text(), nullable=False, comment="Roll-up, by full name."),
        sa.Column("refreshed_at", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it was last brought up to date."),
        sa.Column("refreshed_lsn", sa.Text(), nullable=False, comment="Position of the log up to which it was brought up to date."),
        sa.Column("buckets_written", sa.BigInteger(), nullable=False, comment="Buckets written by all refreshes so far."),
        sa.Column("buckets_removed", sa.BigInteger(), nullable=False, comment="Buckets removed because their last row went, so far."),
        sa.Column("seconds", sa.Double(), nullable=False, comment="How long the last refresh took."),
        sa.Column(
            "most_keys",
            sa.Double(),
            nullable=True,
            comment="Of how many keys a bucket is brought up to date key by key, from what its buckets held; of more it is read as a whole.",
        ),
        sa.PrimaryKeyConstraint("rollup", name="rollup_state_pkey"),
        schema="strata",
        comment="One row per roll-up: how far it is, and what keeping it costs.",
    )
    op.create_table(
        "sample_load",
        sa.Column("pack", sa.Text(), nullable=False, comment="Pack the sample is of."),
        sa.Column("scale", sa.Text(), nullable=False, comment="Its size: small, medium or large."),
        sa.Column("seed", sa.BigInteger(), nullable=False, comment="Seed it was made from."),
        sa.Column("anchor", sa.TIMESTAMP(timezone=True), nullable=False, comment="The newest instant it speaks of."),
        sa.Column(
            "parts",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Parts that are written; a load that was cut short goes on after them.",
        ),
        sa.Column("rows_written", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Rows in those parts."),
        sa.Column(
            "started_at",
            sa.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the load began.",
        ),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When all of it was there."),
        sa.PrimaryKeyConstraint("pack", name="sample_load_pkey"),
        schema="strata",
        comment="One row per pack that holds sample data.",
    )
    op.create_function(
        "strata.analyze_query_performance(pattern text)",
        """
CREATE FUNCTION strata.analyze_query_performance(pattern text DEFAULT '%')
RETURNS TABLE (
    query_id bigint, query text, calls bigint, rows_returned bigint, total_ms numeric, mean_ms numeric, max_ms numeric,
    stddev_ms numeric, cache_hit_ratio numeric, advice text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
    place text := (
        SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'
    );
BEGIN
    IF place IS NULL THEN
        advice := 'statistics are not collected: CREATE EXTENSION pg_stat_statements in this database';
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        $query$
            SELECT
                s.queryid, s.query, s.calls, s.rows,
                round(s.total_exec_time::numeric, 3), round(s.mean_exec_time::numeric, 3), round(s.max_exec_time::numeric, 3),
                round(s.stddev_exec_time::numeric, 3),
                round(s.shared_blks_hit::numeric / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 4),
                CASE
                    WHEN s.mean_exec_time > 200 THEN 'slow: more than 200 ms on average; look at its plan'
                    WHEN s.max_exec_time > 10 * s.mean_exec_time AND s.max_exec_time > 200 THEN 'uneven: look for locks and cold reads'
                    WHEN s.shared_blks_read > s.shared_blks_hit THEN 'cold: reads more from disk than from memory'
                    WHEN s.temp_blks_written > 0 THEN 'spills: sorts or hashes on disk; more work_mem would hold them'
                    ELSE 'fine'
                END
            FROM %s.pg_stat_statements AS s
            WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query LIKE $1
            ORDER BY s.total_exec_time DESC
        $query$,
        place
    ) USING pattern;
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        advice := 'statistics are not collected: add pg_stat_statements to shared_preload_libraries and restart the server';
        RETURN NEXT;
END
$$;
""",
        comment="What the statements whose text matches a LIKE pattern cost, the costliest first. Where the statistics are not collected there is one row that says why in `advice`, and nothing else.",
    )
    op.create_function(
        "strata.check_index_bloat(minimum_bytes bigint)",
        """
CREATE FUNCTION strata.check_index_bloat(minimum_bytes bigint DEFAULT 1048576)
RETURNS TABLE (
    schema_name text, table_name text, index_name text, size_bytes bigint, density_percent numeric, reclaimable_bytes bigint, advice text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
    place text := (
        SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pgstattuple'
    );
BEGIN
    IF place IS NULL THEN
        advice := 'density is not measured: CREATE EXTENSION pgstattuple in this database';
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        $query$
            SELECT measured.nspname::text, measured.table_name::text, measured.index_name::text, measured.size, measured.density,
                measured.reclaimable,
                CASE
                    WHEN measured.density < 50 THEN format('REINDEX INDEX CONCURRENTLY %%I.%%I', measured.nspname, measured.index_name)
                    ELSE 'fine'
                END
            FROM (
                SELECT n.nspname, t.relname AS table_name, c.relname AS index_name, pg_relation_size(c.oid) AS size,
                    round(nullif(s.avg_leaf_density, 'NaN')::numeric, 1) AS density,
                    -- Leaves are filled to 90 percent when an index is built.
                    greatest(pg_relation_size(c.oid) * (1 - coalesce(nullif(s.avg_leaf_density, 'NaN'), 90) / 90), 0)::bigint AS reclaimable
                FROM pg_index AS i
                JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
                JOIN pg_class AS t ON t.oid = i.indrelid
                JOIN pg_namespace AS n ON n.oid = c.relnamespace
                JOIN pg_am AS a ON a.oid = c.relam AND a.amname = 'btree'
                CROSS JOIN LATERAL %s.pgstatindex(c.oid::regclass) AS s
                WHERE i.indisvalid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence = 'p'
                    AND pg_relation_size(c.oid) >= $1
            ) AS measured
            ORDER BY measured.reclaimable DESC, 1, 2, 3
        $query$,
        place
    ) USING minimum_bytes;
END
$$;
""",
        comment="How densely the B-tree indexes of at least a size are filled, and what rebuilding them would give back, the most first. A rebuild is `REINDEX INDEX CONCURRENTLY`, which a client runs, outside a transaction; writers go on. Reads every page of each index.",
    )
    op.create_function(
        "strata.check_index_effectiveness(in_schema text)",
        """
CREATE FUNCTION strata.check_index_effectiveness(in_schema text DEFAULT NULL)
RETURNS TABLE (
    schema_name text, table_name text, index_name text, size_bytes bigint, scans bigint, rows_read bigint, rows_fetched bigint,
    table_writes bigint, verdict text, reason text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog
BEGIN ATOMIC
    WITH whole AS (
        SELECT i.*, n.nspname, t.relname AS table_name, c.relname AS index_name, c.relam,
            (string_to_array(i.indkey::text, ' '))[:i.indnkeyatts] AS keys,
            (string_to_array(i.indclass::text, ' '))[:i.indnkeyatts] AS classes,
            (string_to_array(i.indoption::text, ' '))[:i.indnkeyatts] AS options
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_class AS t ON t.oid = i.indrelid
        JOIN pg_namespace AS n ON n.oid = t.relnamespace
        WHERE NOT c.relispartition
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname !~ '^pg_(toast|temp_)'
            AND (in_schema IS NULL OR n.nspname = in_schema)
    ),
    counted AS (
        SELECT w.indexrelid,
            sum(pg_relation_size(leaf.relid))::bigint AS size_bytes,
            coalesce(sum(s.idx_scan), 0)::bigint AS scans,
            coalesce(sum(s.idx_tup_read), 0)::bigint AS rows_read,
            coalesce(sum(s.idx_tup_fetch), 0)::bigint AS rows_fetched,
            coalesce(sum(u.n_tup_ins + u.n_tup_upd - u.n_tup_hot_upd), 0)::bigint AS table_writes
        FROM whole AS w
        -- A plain index is no part of a tree, so the function gives nothing for it.
        CROSS JOIN LATERAL (
            SELECT tree.relid FROM pg_partition_tree(w.indexrelid) AS tree WHERE tree.isleaf
            UNION
            SELECT w.indexrelid
        ) AS leaf
        LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = leaf.relid
        LEFT JOIN pg_stat_all_tables AS u ON u.relid = s.relid
        GROUP BY w.indexrelid
    ),
    judged AS (
        SELECT w.*, c.size_bytes, c.scans, c.rows_read, c.rows_fetched, c.table_writes, covering.name AS covered_by, covering.alike
        FROM whole AS w
        JOIN counted AS c USING (indexrelid)
        LEFT JOIN LATERAL (
            SELECT o.index_name AS name,
                -- A B-tree is read both ways, so the same order turned round serves as well.
                o.options[:w.indnkeyatts] = w.options
                OR o.options[:w.indnkeyatts]
                    = ARRAY(SELECT (3 - part::integer)::text FROM unnest(w.options) WITH ORDINALITY AS each (part, nr) ORDER BY nr) AS alike
            FROM whole AS o
            WHERE o.indrelid = w.indrelid AND o.indexrelid <> w.indexrelid AND o.relam = w.relam
                AND o.indisvalid AND w.indexprs IS NULL AND o.indexprs IS NULL AND w.indnkeyatts = w.indnatts
                AND pg_get_expr(o.indpred, o.indrelid) IS NOT DISTINCT FROM pg_get_expr(w.indpred, w.indrelid)
                AND o.keys[:w.indnkeyatts] = w.keys AND o.classes[:w.indnkeyatts] = w.classes
                -- Of two that are equal only the later one is called a duplicate.
                AND (o.indnatts > w.indnkeyatts OR o.indisunique OR o.indexrelid < w.indexrelid)
            ORDER BY alike DESC, o.index_name
            LIMIT 1
        ) AS covering ON true
    )
    SELECT j.nspname::text, j.table_name::text, j.index_name::text, j.size_bytes, j.scans, j.rows_read, j.rows_fetched, j.table_writes,
        verdict.name, verdict.reason
    FROM judged AS j
    CROSS JOIN LATERAL (
        SELECT * FROM (VALUES
            (1, NOT j.indisvalid, 'invalid', 'a build failed or has not ended: it is written and never read'),
            (2, NOT j.indisunique AND j.alike, 'duplicate', format('%s begins with the same columns', j.covered_by)),
            (2, NOT j.indisunique AND NOT j.alike, 'duplicate',
                format('%s begins with the same columns; only ORDER BY over them in opposite directions needs this one', j.covered_by)),
            (3, j.indisunique AND j.scans = 0, 'constraint', 'never read, but keeps its columns unique'),
            (4, j.scans = 0, 'unused', 'never read since the statistics were reset'),
            (5, j.scans * 100 < j.table_writes AND NOT j.indisunique, 'seldom', 'written more than a hundred times for each read'),
            (6, true, 'useful', 'read often enough for what it costs')
        ) AS verdicts (rank, holds, name, reason)
        WHERE holds ORDER BY rank LIMIT 1
    ) AS verdict
    ORDER BY verdict.rank, j.size_bytes DESC, 1, 2, 3;
END;
""",
        comment="Which indexes earn their keep: one row per index of the tables in the given schema (all but the system's for NULL), those of partitions summed under their parent's, the largest of the least useful first. Counts are those since the statistics were reset.",
    )
    op.create_function(
        "strata.distinct_key(value text)",
        """
CREATE FUNCTION strata.distinct_key(value text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT ((hash >> 53) & 2047)::integer * 64
        + 54 - CASE WHEN hash & 9007199254740991 = 0 THEN 0 ELSE floor(log(2, (hash & 9007199254740991)::numeric))::integer + 1 END
    FROM (SELECT hashtextextended(value, 0) AS hash) AS hashed
)
""",
        comment="The register of a value in a distinct sketch of 2048 registers, and the rank it brings: register * 64 + rank.",
    )
    op.create_function(
        "strata.mark_deleted()",
        """
CREATE FUNCTION strata.mark_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (lo, hi) SELECT ($1).%I, ($1).%I + interval ''1 microsecond''', TG_ARGV[0], TG_ARGV[1], TG_ARGV[1])
    USING OLD;
    RETURN NULL;
END
$$
""",
        comment="Marks the time of a deleted row as dirty, for every key: for tables whose statements do not tell what they deleted. The trigger names the table of marks and the column of the time.",
    )
    op.create_function(
        "strata.merge_counts(sketches jsonb[])",
        """
CREATE FUNCTION strata.merge_counts(sketches jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE WHEN array_length(array_remove(sketches, NULL), 1) > 0 THEN coalesce(jsonb_object_agg(cell, times), '{}') END
    FROM (
        SELECT entry.key AS cell, sum(entry.value::bigint) AS times
        FROM unnest(sketches) AS sketch, jsonb_each_text(sketch) AS entry
        GROUP BY entry.key
    ) AS counted
)
""",
        comment="Merges quantile sketches: the counts of each cell are added. Nothing but NULL merges into NULL, as no row at all folds into it.",
    )
    op.create_function(
        "strata.merge_registers(sketches jsonb[])",
        """
CREATE FUNCTION strata.merge_registers(sketches jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE WHEN array_length(array_remove(sketches, NULL), 1) > 0 THEN coalesce(jsonb_object_agg(register, rank), '{}') END
    FROM (
        SELECT entry.key AS register, max(entry.value::integer) AS rank
        FROM unnest(sketches) AS sketch, jsonb_each_text(sketch) AS entry
        GROUP BY entry.key
    ) AS ranked
)
""",
        comment="Merges distinct sketches: the highest rank of each register stays. Nothing but NULL merges into NULL, as no row at all folds into it.",
    )
    op.create_function(
        "strata.quantile_key(number double precision)",
        """
CREATE FUNCTION strata.quantile_key(number double precision) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN CASE
    WHEN number > 0 THEN 50000 + ceil(ln(number) / ln(1.02::double precision))::integer
    WHEN number < 0 THEN -50000 - ceil(ln(-number) / ln(1.02::double precision))::integer
    ELSE 0
END
""",
        comment="The cell of a number in a quantile sketch: cells grow by 2 %, so that the middle of one is within 1 % of the number. Cells are ordered as their numbers are; 0 is the number 0.",
    )
    op.create_function(
        "strata.refuse_sealed()",
        """
CREATE FUNCTION strata.refuse_sealed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RAISE EXCEPTION 'partition %.% is sealed, its rows cannot change any more', quote_ident(TG_TABLE_SCHEMA), quote_ident(TG_TABLE_NAME)
    USING ERRCODE = 'check_violation', CONSTRAINT = 'partition_sealed', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
        HINT = 'It is leaving, or was put back from the archive. A row this old is late: it belongs in the roll-ups or in quarantine.';
END
$$
""",
        comment="Refuses every change of a partition that is about to leave, or was put back from the archive: what is archived must be what was there to the last, and roll-ups have it in for good.",
    )
    op.create_function(
        "strata.refuse_sealed_chunks()",
        """
CREATE FUNCTION strata.refuse_sealed_chunks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    sealed text;
BEGIN
    SELECT t.tgrelid::regclass::text INTO sealed
    FROM pg_inherits AS i
    JOIN pg_trigger AS t ON t.tgrelid = i.inhrelid
    WHERE i.inhparent = TG_RELID AND t.tgname = 'strata_sealed'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'partition % is sealed, its rows cannot change any more', sealed
        USING ERRCODE = 'check_violation', CONSTRAINT = 'partition_sealed', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            HINT = 'It is leaving, or was put back from the archive. DELETE takes the rows of the others.';
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Refuses TRUNCATE of a hypertable of TimescaleDB that has sealed chunks. It drops all chunks and asks none of them.",
    )
    op.create_function(
        "strata.refuse_stray_chunks()",
        """
CREATE FUNCTION strata.refuse_stray_chunks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = TG_RELID AND starts_with(c.relname, '_stray_')
    ) THEN
        RAISE EXCEPTION 'no partition of relation % found for row', quote_ident(TG_TABLE_NAME)
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            HINT = 'It is too old or too far ahead. Its partition is made by `chainstrata partitions apply`, or left already.';
    END IF;
    RETURN NULL;
END
$$
""",
        comment="Refuses rows of a hypertable of TimescaleDB that no declared partition takes, as PostgreSQL does. TimescaleDB makes a chunk for them by itself, under the prefix it was given for such.",
    )
    op.create_function(
        "strata.sketch_counts(cells integer[])",
        """
CREATE FUNCTION strata.sketch_counts(cells integer[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT coalesce(jsonb_object_agg(cell, times), '{}')
    FROM (SELECT cell, count(*) AS times FROM unnest(cells) AS cell WHERE cell IS NOT NULL GROUP BY cell) AS counted
)
""",
        comment="Folds cells of numbers into a quantile sketch: how often each cell occurs.",
    )
    op.create_function(
        "strata.sketch_distinct(sketch jsonb)",
        """
CREATE FUNCTION strata.sketch_distinct(sketch jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT round(CASE
        WHEN empty > 0 AND raw <= 5120 THEN 2048 * ln(2048.0::double precision / empty)
        ELSE raw
    END)::bigint
    FROM (
        SELECT 2048 - count(*) AS empty,
               0.7213 / (1 + 1.079 / 2048) * 2048 * 2048
                   / (2048 - count(*) + coalesce(sum(power(2.0::double precision, -entry.value::integer)), 0)) AS raw
        FROM jsonb_each_text(sketch) AS entry
    ) AS estimated
)
""",
        comment="About how many different values went into a distinct sketch: HyperLogLog over 2048 registers, counted linearly when few.",
    )
    op.create_function(
        "strata.sketch_quantile(sketch jsonb, share double precision)",
        """
CREATE FUNCTION strata.sketch_quantile(sketch jsonb, share double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT CASE
        WHEN cell > 0 THEN 2 * exp((cell - 50000) * ln(1.02::double precision)) / 2.02
        WHEN cell < 0 THEN -2 * exp((-cell - 50000) * ln(1.02::double precision)) / 2.02
        ELSE 0
    END
    FROM (
        SELECT entry.key::integer AS cell,
               sum(entry.value::bigint) OVER (ORDER BY entry.key::integer) AS reached,
               sum(entry.value::bigint) OVER () AS whole
        FROM jsonb_each_text(sketch) AS entry
    ) AS cells
    WHERE reached >= greatest(1, ceil(share * whole))
    ORDER BY cell
    LIMIT 1
)
""",
        comment="The number below which a share of all numbers of a quantile sketch lie, within 1 %; NULL for an empty sketch.",
    )
    op.create_function(
        "strata.sketch_registers(keys integer[])",
        """
CREATE FUNCTION strata.sketch_registers(keys integer[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
RETURN (
    SELECT coalesce(jsonb_object_agg(register, rank), '{}')
    FROM (
        SELECT key / 64 AS register, max(key % 64) AS rank
        FROM unnest(keys) AS key WHERE key IS NOT NULL GROUP BY key / 64
    ) AS ranked
)
""",
        comment="Folds keys of values into a distinct sketch: the highest rank of each register.",
    )
    op.create_function(
        "strata.stamp_row()",
        """
CREATE FUNCTION strata.stamp_row() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.created_at := OLD.created_at;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
""",
        comment="Trigger function: an updated row keeps the time it was first written and gets the present as its last. A clock, not the start of the transaction, so that a row changed twice in one transaction shows it.",
    )
    op.create_function(
        "strata.touch_updated_at()",
        """
CREATE FUNCTION strata.touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
""",
        comment="Trigger function: sets updated_at to the moment of the change. A clock, not the start of the transaction, so that a row changed twice in one transaction shows it.",
    )
    op.set_policy("strata.api_keys", {"table": "strata.api_key"})
    op.set_policy("strata.archives", {"table": "strata.archive"})
    op.set_policy("strata.audit", {"lifecycle": {"keep": "400 days"}, "table": "strata.audit", "time": "at"})
    op.set_policy("strata.datasets", {"table": "strata.dataset"})
    op.set_policy("strata.dead_letters", {"table": "strata.cdc_dead_letter"})
    op.set_policy("strata.departures", {"table": "strata.departure"})
    op.set_policy("strata.holds", {"table": "strata.hold"})
    op.set_policy(
        "strata.ingest_batches",
        {"lifecycle": {"archive": False, "keep": "30 days"}, "table": "strata.ingest_batch", "time": "taken_at"},
    )
    op.set_policy(
        "strata.job_runs",
        {
            "lifecycle": {"archive": False, "keep": "30 days", "terminal": "state <> 'running'"},
            "table": "strata.job_run",
            "time": "started_at",
        },
    )
    op.set_policy("strata.jobs", {"table": "strata.job"})
    op.set_policy("strata.migrations", {"table": "strata.migration"})
    op.set_policy("strata.mirror_chunks", {"table": "strata.cdc_chunk"})
    op.set_policy("strata.mirrors", {"table": "strata.cdc_dataset"})
    op.set_policy("strata.quarantine", {"table": "strata.quarantine"})
    op.set_policy("strata.rollup_sources", {"table": "strata.rollup_source"})
    op.set_policy("strata.rollups", {"table": "strata.rollup_state"})
    op.set_policy("strata.samples", {"table": "strata.sample_load"})


def downgrade() -> None:
    op.comment_on("schema", "strata", "")
    op.remove_policy("strata.samples")
    op.remove_policy("strata.rollups")
    op.remove_policy("strata.rollup_sources")
    op.remove_policy("strata.quarantine")
    op.remove_policy("strata.mirrors")
    op.remove_policy("strata.mirror_chunks")
    op.remove_policy("strata.migrations")
    op.remove_policy("strata.jobs")
    op.remove_policy("strata.job_runs")
    op.remove_policy("strata.ingest_batches")
    op.remove_policy("strata.holds")
    op.remove_policy("strata.departures")
    op.remove_policy("strata.dead_letters")
    op.remove_policy("strata.datasets")
    op.remove_policy("strata.audit")
    op.remove_policy("strata.archives")
    op.remove_policy("strata.api_keys")
    op.drop_function("strata.touch_updated_at()")
    op.drop_function("strata.stamp_row()")
    op.drop_function("strata.sketch_registers(keys integer[])")
    op.drop_function("strata.sketch_quantile(sketch jsonb, share double precision)")
    op.drop_function("strata.sketch_distinct(sketch jsonb)")
    op.drop_function("strata.sketch_counts(cells integer[])")
    op.drop_function("strata.refuse_stray_chunks()")
    op.drop_function("strata.refuse_sealed_chunks()")
    op.drop_function("strata.refuse_sealed()")
    op.drop_function("strata.quantile_key(number double precision)")
    op.drop_function("strata.merge_registers(sketches jsonb[])")
    op.drop_function("strata.merge_counts(sketches jsonb[])")
    op.drop_function("strata.mark_deleted()")
    op.drop_function("strata.distinct_key(value text)")
    op.drop_function("strata.check_index_effectiveness(in_schema text)")
    op.drop_function("strata.check_index_bloat(minimum_bytes bigint)")
    op.drop_function("strata.analyze_query_performance(pattern text)")
    op.drop_table("sample_load", schema="strata")
    op.drop_table("rollup_state", schema="strata")
    op.drop_table("rollup_source", schema="strata")
    op.drop_table("quarantine", schema="strata")
    op.drop_table("job_run", schema="strata")
    op.drop_table("job", schema="strata")
    op.drop_table("ingest_batch", schema="strata")
    op.drop_table("hold", schema="strata")
    op.drop_table("departure", schema="strata")
    op.drop_table("dataset", schema="strata")
    op.drop_table("cdc_dead_letter", schema="strata")
    op.drop_table("cdc_dataset", schema="strata")
    op.drop_table("cdc_chunk", schema="strata")
    op.drop_table("audit", schema="strata")
    op.drop_table("archive", schema="strata")
    op.drop_table("api_key", schema="strata")
    op.drop_domain("strata.uint64")
    op.drop_domain("strata.uint256")
    op.drop_queue()
