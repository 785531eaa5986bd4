"""The platform's own tables. Each feature's part opens with a line that says whose it is."""

import sqlalchemy as sa

from chainstrata.model import INSTANT, JSON, Dataset, Lifecycle, check, column, days, index, metadata
from chainstrata.model.columns import SYSTEM_SCHEMA

METADATA = metadata(SYSTEM_SCHEMA)

# Migrations -------------------------------------------------------------------------------------------------------------
migration = sa.Table(
    "migration",
    METADATA,
    column("revision", sa.Text, doc="Revision, unique over all packs."),
    column("pack", sa.Text, doc="Pack it belongs to."),
    column("checksum", sa.Text, doc="SHA-256 of the revision's file as it was when it ran."),
    column("status", sa.Text, doc="running, failed or applied."),
    column("direction", sa.Text, doc="up, or down while it is being undone."),
    column("step", sa.Integer, doc="Steps that are done; one that has no transaction of its own may be half done beyond that."),
    column("steps", sa.Integer, doc="Steps there are."),
    column("started_at", INSTANT, doc="When its last run began."),
    column("finished_at", INSTANT, nullable=True, doc="When its last run ended, well or not."),
    column("seconds", sa.Double, nullable=True, doc="How long its last run took."),
    column("error", sa.Text, nullable=True, doc="Why it failed."),
    sa.PrimaryKeyConstraint("revision", name="migration_pkey"),
    check("migration_status_known", "status IN ('running', 'failed', 'applied')"),
    check("migration_direction_known", "direction IN ('up', 'down')"),
    check("migration_step_within", "step BETWEEN 0 AND steps"),
    comment="One row per revision that was applied, or that stopped on the way.",
)
dataset = sa.Table(
    "dataset",
    METADATA,
    column("name", sa.Text, doc="Dataset, by full name."),
    column("policy", JSON, doc="Life cycle, roll-ups, mirror, cache and topic, as far as they are not the default."),
    sa.PrimaryKeyConstraint("name", name="dataset_pkey"),
    comment="One row per dataset: what the platform does with it, as of the last migration.",
)

# Ingest -----------------------------------------------------------------------------------------------------------------
ingest_batch = sa.Table(
    "ingest_batch",
    METADATA,
    column("dataset", sa.Text, doc="Dataset, by full name."),
    column("batch", sa.Text, doc="Name the sender gave the batch."),
    column("answer", JSON, nullable=True, doc="What became of the batch, as the sender was told."),
    column("taken_at", INSTANT, server_default=sa.func.now(), doc="When the batch was taken."),
    sa.PrimaryKeyConstraint("dataset", "batch", name="ingest_batch_pkey"),
    index("idx_ingest_batch_taken_at", "taken_at", why="Names of batches that are old enough to be forgotten."),
    comment="One named batch that was taken, so that the same one sent again changes nothing.",
)

# Roll-ups ---------------------------------------------------------------------------------------------------------------
rollup_source = sa.Table(
    "rollup_source",
    METADATA,
    column("source", sa.Text, doc="Dataset or roll-up that roll-ups are folded from, by full name."),
    column("gone_before", INSTANT, nullable=True, doc="Rows before this have left; buckets before it are only merged into."),
    sa.PrimaryKeyConstraint("source", name="rollup_source_pkey"),
    comment="One row per source of roll-ups whose oldest rows have left.",
)
rollup_state = sa.Table(
    "rollup_state",
    METADATA,
    column("rollup", sa.Text, doc="Roll-up, by full name."),
    column("refreshed_at", INSTANT, doc="When it was last brought up to date."),
    column("refreshed_lsn", sa.Text, doc="Position of the log up to which it was brought up to date."),
    column("buckets_written", sa.BigInteger, doc="Buckets written by all refreshes so far."),
    column("buckets_removed", sa.BigInteger, doc="Buckets removed because their last row went, so far."),
    column("seconds", sa.Double, doc="How long the last refresh took."),
    column(
        "most_keys",
        sa.Double,
        nullable=True,
        doc="Of how many keys a bucket is brought up to date key by key, from what its buckets held; of more it is read as a whole.",
    ),
    sa.PrimaryKeyConstraint("rollup", name="rollup_state_pkey"),
    comment="One row per roll-up: how far it is, and what keeping it costs.",
)

# Quarantine -------------------------------------------------------------------------------------------------------------
quarantine = sa.Table(
    "quarantine",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the row."),
    column("dataset", sa.Text, doc="Dataset it was meant for, by full name."),
    column("reason", sa.Text, doc="Why it was not taken, from a closed list."),
    column("detail", sa.Text, doc="What exactly was wrong, for people."),
    column("content", JSON, nullable=True, doc="The row, as far as it could be read as one."),
    column("original", sa.Text, nullable=True, doc="The exact text it came as, where that is not the content itself."),
    column("source", sa.Text, nullable=True, doc="Where it came from."),
    column("batch", sa.Text, nullable=True, doc="Batch it came in, as the source names it."),
    column("row_time", INSTANT, nullable=True, doc="Time the row is about, where it could be read."),
    column("fingerprint", sa.LargeBinary, doc="SHA-256 of the text: the same row refused again is counted, not kept again."),
    column("first_seen", INSTANT, server_default=sa.func.now(), doc="When it was first refused."),
    column("last_seen", INSTANT, server_default=sa.func.now(), doc="When it was last refused."),
    column("times", sa.Integer, server_default=sa.text("1"), doc="How often it was refused."),
    column("state", sa.Text, server_default="held", doc="held, replayed once it was taken after all, or dropped by a person."),
    column("settled_at", INSTANT, nullable=True, doc="When it was replayed or dropped."),
    sa.PrimaryKeyConstraint("id", name="quarantine_pkey"),
    check(
        "quarantine_reason_known",
        "reason IN ('no_partition', 'sealed', 'late', 'bad_value', 'constraint', 'duplicate', 'no_parent', 'malformed')",
    ),
    check("quarantine_state_known", "state IN ('held', 'replayed', 'dropped')"),
    check("quarantine_settled", "(state = 'held') = (settled_at IS NULL)"),
    check("quarantine_kept", "content IS NOT NULL OR original IS NOT NULL"),
    index(
        "quarantine_held_key",
        "dataset",
        "fingerprint",
        unique=True,
        postgresql_where=sa.text("state = 'held'"),
        why="The same row refused again is counted where it stands.",
    ),
    index(
        "idx_quarantine_replay",
        "dataset",
        "reason",
        "id",
        postgresql_where=sa.text("state = 'held'"),
        why="What is held, by dataset and reason: counts and replays.",
    ),
    comment="One row per different row that a dataset did not take, kept until it is replayed or dropped.",
)

# Jobs -------------------------------------------------------------------------------------------------------------------
job = sa.Table(
    "job",
    METADATA,
    column("name", sa.Text, doc="Name of the job."),
    column("due_at", INSTANT, doc="When it is to run next."),
    column("paused_at", INSTANT, nullable=True, doc="Since when it is paused. NULL: it is not."),
    sa.PrimaryKeyConstraint("name", name="job_pkey"),
    comment="One row per job that comes round: when it is due.",
)
job_run = sa.Table(
    "job_run",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the run."),
    column("job", sa.Text, doc="Job that ran."),
    column("asked_by", sa.Text, doc="What it ran for: schedule, retry, command or api."),
    column("worker", sa.Text, doc="Host and process that ran it."),
    column("queue_id", sa.BigInteger, nullable=True, doc="Its number in the job queue. NULL: it ran where it was asked for."),
    column("state", sa.Text, server_default="running", doc="running, succeeded, failed, or lost when its worker ended before it did."),
    column("result", sa.Text, nullable=True, doc="What it did, in a line."),
    column("error", sa.Text, nullable=True, doc="Why it failed."),
    column("error_code", sa.Text, nullable=True, doc="Code of the error."),
    column(
        "retryable", sa.Boolean, server_default=sa.false(), doc="Whether the failure may pass, so that it is tried again before its time."
    ),
    column("started_at", INSTANT, server_default=sa.func.now(), doc="When it began."),
    column("finished_at", INSTANT, nullable=True, doc="When it ended, or was found to have ended."),
    sa.PrimaryKeyConstraint("id", name="job_run_pkey"),
    check("job_run_asked_by_known", "asked_by IN ('schedule', 'retry', 'command', 'api')"),
    check("job_run_state_known", "state IN ('running', 'succeeded', 'failed', 'lost')"),
    check("job_run_finished", "(state = 'running') = (finished_at IS NULL)"),
    check("job_run_failed_why", "state NOT IN ('failed', 'lost') OR error IS NOT NULL"),
    index("idx_job_run_job", "job", "id", why="The last runs of a job."),
    index("idx_job_run_started_at", "started_at", why="Runs that are old enough to be forgotten."),
    # Its worker holds a lock while it works, so a second one cannot begin.
    index(
        "job_run_running_key",
        "job",
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
        why="The one run of a job that is under way; there is never a second.",
    ),
    comment="One row per run of a job: for what, where, how long, and what came of it.",
)
# Change capture ---------------------------------------------------------------------------------------------------------
cdc_dataset = sa.Table(
    "cdc_dataset",
    METADATA,
    column("dataset", sa.Text, doc="Mirrored dataset, by full name."),
    column(
        "state", sa.Text, doc="waiting for its copy, copying, streaming, paused by a person, stopped by a problem, lost, or ended for good."
    ),
    column("since", INSTANT, server_default=sa.func.now(), doc="When it came into this state."),
    column("error_code", sa.Text, nullable=True, doc="What stopped it, or what is tried again, as a code."),
    column("error", sa.Text, nullable=True, doc="The same for people."),
    column("hint", sa.Text, nullable=True, doc="What to do about it."),
    column("copied_rows", sa.BigInteger, server_default=sa.text("0"), doc="Rows of the copy so far."),
    column("rows", sa.BigInteger, server_default=sa.text("0"), doc="Changes carried over since the copy."),
    column("dead_letters", sa.BigInteger, server_default=sa.text("0"), doc="Changes that could not be carried over since the copy."),
    column("errors", sa.BigInteger, server_default=sa.text("0"), doc="Tries that failed and were made again."),
    column("applied_lsn", sa.Text, nullable=True, doc="Position of the log up to which the mirror has everything."),
    column("applied_at", INSTANT, nullable=True, doc="When that was noted."),
    column("lag_p50", sa.Double, nullable=True, doc="Seconds from commit to mirror, half of the last transactions took less."),
    column("lag_p95", sa.Double, nullable=True, doc="The same for 95 of 100."),
    column("lag_p99", sa.Double, nullable=True, doc="The same for 99 of 100."),
    column("origin", JSON, nullable=True, doc="What its rows are read from: the table, its entry in the publication, its columns."),
    sa.PrimaryKeyConstraint("dataset", name="cdc_dataset_pkey"),
    check("cdc_dataset_state_known", "state IN ('waiting', 'copying', 'streaming', 'paused', 'stopped', 'lost', 'ended')"),
    comment="One row per mirrored dataset: how its mirror is kept, and how far it is.",
)
cdc_chunk = sa.Table(
    "cdc_chunk",
    METADATA,
    column("dataset", sa.Text, doc="Dataset that is copied, by full name."),
    column("number", sa.Integer, doc="Number of the piece."),
    column("lower", JSON, nullable=True, doc="Key the piece begins at, as texts; none: at the first row."),
    column("upper", JSON, nullable=True, doc="Key it ends before, as texts; none: after the last row."),
    column("rows", sa.BigInteger, nullable=True, doc="Rows in it."),
    column("done_at", INSTANT, nullable=True, doc="When it was in the mirror."),
    sa.PrimaryKeyConstraint("dataset", "number", name="cdc_chunk_pkey"),
    comment="One piece of the copy a mirror begins with, so that a copy that was cut short goes on where it was.",
)
cdc_dead_letter = sa.Table(
    "cdc_dead_letter",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the event."),
    column("dataset", sa.Text, doc="Dataset it belongs to, by full name."),
    column("sink", sa.Text, doc="Who could not take it."),
    column("lsn", sa.Text, doc="Position of its commit."),
    column("row_key", JSON, doc="Key of the row, as texts."),
    column("reason", sa.Text, doc="Why it was not taken, as a code."),
    column("detail", sa.Text, doc="What exactly was wrong, for people."),
    column("content", JSON, doc="The row, as texts."),
    column("first_seen", INSTANT, server_default=sa.func.now(), doc="When it was first put aside."),
    column("tries", sa.Integer, server_default=sa.text("1"), doc="How often it was tried."),
    column("state", sa.Text, server_default="held", doc="held, replayed once it was taken after all, or dropped by a person."),
    column("settled_at", INSTANT, nullable=True, doc="When it was replayed or dropped."),
    sa.PrimaryKeyConstraint("id", name="cdc_dead_letter_pkey"),
    check("cdc_dead_letter_state_known", "state IN ('held', 'replayed', 'dropped')"),
    check("cdc_dead_letter_settled", "(state = 'held') = (settled_at IS NULL)"),
    index(
        "cdc_dead_letter_held_key",
        "dataset",
        "sink",
        "lsn",
        "row_key",
        unique=True,
        postgresql_where=sa.text("state = 'held'"),
        why="An event that comes again after a crash is counted where it stands.",
    ),
    comment="One event that a sink could not take, kept until it is replayed or dropped.",
)

# Samples ----------------------------------------------------------------------------------------------------------------
sample_load = sa.Table(
    "sample_load",
    METADATA,
    column("pack", sa.Text, doc="Pack the sample is of."),
    column("scale", sa.Text, doc="Its size: small, medium or large."),
    column("seed", sa.BigInteger, doc="Seed it was made from."),
    column("anchor", INSTANT, doc="The newest instant it speaks of."),
    column("parts", sa.Integer, server_default=sa.text("0"), doc="Parts that are written; a load that was cut short goes on after them."),
    column("rows_written", sa.BigInteger, server_default=sa.text("0"), doc="Rows in those parts."),
    column("started_at", INSTANT, server_default=sa.func.now(), doc="When the load began."),
    column("finished_at", INSTANT, nullable=True, doc="When all of it was there."),
    sa.PrimaryKeyConstraint("pack", name="sample_load_pkey"),
    comment="One row per pack that holds sample data.",
)

DATASETS: tuple[Dataset, ...] = (
    Dataset(migration, name="migrations"),
    Dataset(dataset, name="datasets"),
    Dataset(ingest_batch, name="ingest_batches", time="taken_at", lifecycle=Lifecycle(keep=days(30), archive=False)),
    Dataset(rollup_source, name="rollup_sources"),
    Dataset(rollup_state, name="rollups"),
    Dataset(quarantine, name="quarantine"),
    Dataset(job, name="jobs"),
    Dataset(job_run, name="job_runs", time="started_at", lifecycle=Lifecycle(keep=days(30), archive=False, terminal="state <> 'running'")),
    Dataset(cdc_dataset, name="mirrors"),
    Dataset(cdc_chunk, name="mirror_chunks"),
    Dataset(cdc_dead_letter, name="dead_letters"),
    Dataset(sample_load, name="samples"),
)
