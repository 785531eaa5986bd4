"""Tables of those who call: keys of the API, and the record of what was written by whom."""

import sqlalchemy as sa

from chainstrata.model import INSTANT, JSON, Dataset, Lifecycle, check, column, days, index, unique
from chainstrata.packs.strata.tables import METADATA

api_key = sa.Table(
    "api_key",
    METADATA,
    column("id", sa.BigInteger, sa.Identity(always=True), doc="Number of the key."),
    column("name", sa.Text, doc="Who or what it was made for; what it writes is recorded under this name."),
    column("prefix", sa.Text, doc="Open part of the key, by which it is found and told from others."),
    column("hash", sa.LargeBinary, doc="SHA-256 of the whole key. It holds 256 random bits, so nobody finds it from this."),
    column("role", sa.Text, doc="What it may do: read, write as well, or everything (admin)."),
    column("created_at", INSTANT, server_default=sa.func.now(), doc="When it was made."),
    column("expires_at", INSTANT, nullable=True, doc="When it ends by itself; never when empty."),
    column("revoked_at", INSTANT, nullable=True, doc="When it was taken back."),
    sa.PrimaryKeyConstraint("id", name="api_key_pkey"),
    unique("api_key_prefix_key", "prefix"),
    check("api_key_role_known", "role IN ('read', 'write', 'admin')"),
    check("api_key_hash_whole", "length(hash) = 32"),
    index(
        "api_key_name_key",
        "name",
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
        why="A name stands for one key at a time.",
    ),
    comment="One row per key of the API. A key is taken back, never deleted, so that the record of writes stays readable.",
)
audit = sa.Table(
    "audit",
    METADATA,
    column("id", sa.Uuid, doc="Random name of the entry, so that the same one is never written twice."),
    column("at", INSTANT, doc="When it was asked."),
    column("actor", sa.Text, doc="Name of the key, or who ran the command."),
    column("key_id", sa.BigInteger, nullable=True, doc="Key it was asked with; none for a command."),
    column("request", sa.Text, doc="ID of the request, as its answer and the log bear it."),
    column("action", sa.Text, doc="What was asked, as ingest or keys.create."),
    column("object", sa.Text, doc="What it was asked of: a dataset by full name, a key; empty for the whole."),
    column("outcome", sa.Text, doc="begun while it is not known; done, refused or failed."),
    column("detail", JSON, nullable=True, doc="What became of it: counts, or the code and message of the error."),
    column("settled_at", INSTANT, nullable=True, doc="When the outcome was known. Stays empty where the process ended on the way."),
    sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    check("audit_outcome_known", "outcome IN ('begun', 'done', 'refused', 'failed')"),
    check("audit_settled", "(outcome = 'begun') = (settled_at IS NULL)"),
    index("idx_audit_at", "at", why="The newest entries, and those old enough to leave."),
    comment="One row per write that was asked over HTTP, and per key made or taken back: who, what, when, and what became of it.",
)

DATASETS: tuple[Dataset, ...] = (
    Dataset(api_key, name="api_keys"),
    Dataset(audit, name="audit", time="at", lifecycle=Lifecycle(keep=days(400))),
)
