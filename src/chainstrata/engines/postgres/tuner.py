"""Server parameters computed from the machine, each with its reason. Pure: a host in, a list of parameters out.

Nothing here trades durability for speed: fsync, full_page_writes and synchronous_commit stay on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chainstrata.engines.postgres.host import GB, MB, Host

_SENDERS: Final = 10
_SUPERUSER_RESERVED: Final = 3


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the server's configuration, and why it has that value."""

    name: str
    value: str
    reason: str

    @property
    def quoted(self) -> str:
        """The value as `postgresql.conf` takes it."""
        return "'" + self.value.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Features:
    """What the binaries can do, as far as parameters depend on it."""

    major: int
    statements: bool = True
    jit: bool = False


def tune(host: Host, features: Features, *, max_connections: int = 100) -> list[Parameter]:
    """Return the parameters for a server that has this host to itself, as far as `host.memory_bytes` says."""
    return [
        *_memory(host, features, max_connections),
        *_connections(max_connections),
        *_planner(host, features),
        *_parallelism(host),
        *_wal(host, features),
        *_vacuum(host),
        *_observation(features),
    ]


def _memory(host: Host, features: Features, max_connections: int) -> Iterator[Parameter]:
    memory = host.memory_bytes
    shown = f"{show_size(memory)} ({host.memory_from})"
    shared = clamp(memory // 4, 16 * MB, 64 * GB)
    yield Parameter("shared_buffers", show_size(shared), f"a quarter of {shown}; the rest serves as the file cache")
    yield Parameter("huge_pages", "try", "fewer page-table misses where the system has huge pages set aside")
    cache = clamp(memory * 3 // 4, shared, 1024 * GB)
    yield Parameter(
        "effective_cache_size", show_size(cache), f"three quarters of {shown}: tells the planner what caches hold, takes nothing"
    )
    work = clamp(memory // max_connections // 4, MB, 256 * MB)
    yield Parameter(
        "work_mem",
        show_size(work),
        f"{show_size(memory)} / {max_connections} connections / 4, from 1MB to 256MB: one sort in every connection takes a quarter of memory",
    )
    maintenance = clamp(memory // 16, 32 * MB, 2 * GB)
    yield Parameter("maintenance_work_mem", show_size(maintenance), "a sixteenth of memory, from 32MB to 2GB: index builds, few at a time")
    autovacuum = clamp(memory // 64, 16 * MB, GB)
    yield Parameter("autovacuum_work_mem", show_size(autovacuum), "each of the autovacuum workers may take it at once")
    if features.major >= 16:
        buffers = clamp(shared // 64, 2 * MB, 64 * MB)
        yield Parameter("vacuum_buffer_usage_limit", show_size(buffers), "vacuum of large partitions needs a larger ring than the default")


def _connections(max_connections: int) -> Iterator[Parameter]:
    yield Parameter("max_connections", str(max_connections), "postgres.max_connections; the pools are checked against it at start")
    yield Parameter(
        "superuser_reserved_connections", str(min(_SUPERUSER_RESERVED, max_connections - 1)), "a way in when all others are taken"
    )
    yield Parameter(
        "max_prepared_transactions",
        "0",
        "two-phase commit is not used; it is not about prepared statements, and a forgotten one stops vacuum",
    )
    yield Parameter("password_encryption", "scram-sha-256", "the only password method allowed here")
    yield Parameter("timezone", "UTC", "every time is a UTC instant")
    yield Parameter("log_timezone", "UTC", "so that logs of all engines line up")
    yield Parameter("idle_in_transaction_session_timeout", "5min", "a forgotten transaction holds locks and stops vacuum")
    yield Parameter("tcp_keepalives_idle", "60", "notices a vanished client in minutes instead of hours")
    yield Parameter("tcp_keepalives_interval", "10", "see tcp_keepalives_idle")
    yield Parameter("tcp_keepalives_count", "6", "see tcp_keepalives_idle")
    yield Parameter("client_connection_check_interval", "10s", "a long query stops when its client has gone")
    yield Parameter("max_locks_per_transaction", "256", "a query over a partitioned table locks each of its partitions and indexes")


def _planner(host: Host, features: Features) -> Iterator[Parameter]:
    rotating = host.disk == "rotating"
    disk = f"{host.disk} disk" if host.disk != "unknown" else "disk of unknown kind, taken for solid state"
    yield Parameter(
        "random_page_cost",
        "4.0" if rotating else "1.1",
        f"{disk}: random reads cost {'more than' if rotating else 'about what'} sequential ones",
    )
    yield Parameter("effective_io_concurrency", "2" if rotating else "200", f"{disk}: requests it can serve at once")
    yield Parameter("maintenance_io_concurrency", "10" if rotating else "200", f"{disk}: the same for vacuum")
    yield Parameter("default_statistics_target", "100", "enough for even data; raised per column where values are skewed")
    reason = "statements here are short; compiling them costs more than it saves" if features.jit else "these binaries have no JIT compiler"
    yield Parameter("jit", "off", reason)


def _parallelism(host: Host) -> Iterator[Parameter]:
    cores = host.cores
    gather = clamp(cores // 2, 1, 4)
    yield Parameter("max_worker_processes", str(max(8, cores + 8)), f"{cores} cores for queries and 8 for replication and extensions")
    yield Parameter("max_parallel_workers", str(cores), f"{cores} cores")
    yield Parameter("max_parallel_workers_per_gather", str(gather), "one query takes at most half of the cores, up to 4")
    yield Parameter("max_parallel_maintenance_workers", str(gather), "the same for index builds")


def _wal(host: Host, features: Features) -> Iterator[Parameter]:
    largest = clamp(host.disk_total_bytes // 20, 64 * MB, 16 * GB)
    kept = clamp(host.disk_free_bytes // 10, clamp(host.disk_free_bytes // 2, 64 * MB, GB), 64 * GB)
    yield Parameter("wal_level", "logical", "changes are captured by logical replication")
    yield Parameter("max_wal_senders", str(_SENDERS), "change capture, backups and standbys")
    yield Parameter("max_replication_slots", str(_SENDERS), "a slot for each of them")
    yield Parameter(
        "max_slot_wal_keep_size",
        show_size(kept),
        f"a tenth of the {show_size(host.disk_free_bytes)} free, at least 1GB or half of it: a consumer that stays away"
        " loses its slot and copies anew, but never fills the disk",
    )
    buffers = clamp(host.memory_bytes // 4 // 32, 64 * 1024, 16 * MB)
    yield Parameter("wal_buffers", show_size(buffers), "one WAL segment, 16MB, less on a small host; more is not used between commits")
    yield Parameter("max_wal_size", show_size(largest), f"a twentieth of the {show_size(host.disk_total_bytes)} disk, from 64MB to 16GB")
    yield Parameter("min_wal_size", show_size(clamp(largest // 4, 32 * MB, 2 * GB)), "recycled segments for steady ingest")
    yield Parameter(
        "checkpoint_timeout",
        "15min",
        "rare checkpoints write each page once and log fewer whole pages; recovery stays within seconds to minutes",
    )
    yield Parameter("checkpoint_completion_target", "0.9", "spreads the writes of a checkpoint over the time until the next")
    yield Parameter("fsync", "on", "an acknowledged write survives a crash")
    yield Parameter("full_page_writes", "on", "a page half written at a power loss is restored from WAL")
    yield Parameter("synchronous_commit", "on", "commit answers when the row is on disk")
    if features.major >= 17:
        yield Parameter("summarize_wal", "on", "incremental backups need it")


def _vacuum(host: Host) -> Iterator[Parameter]:
    yield Parameter("autovacuum", "on", "never off: transaction ids run out without it")
    yield Parameter("autovacuum_max_workers", str(clamp(host.cores // 2, 3, 8)), "half of the cores, from 3 to 8")
    yield Parameter("autovacuum_naptime", "15s", "partitions fill within minutes; a look per minute comes late")
    yield Parameter("autovacuum_vacuum_scale_factor", "0.05", "a twentieth of a large partition is already many dead rows")
    yield Parameter("autovacuum_analyze_scale_factor", "0.02", "a growing partition needs fresh statistics for its newest times")
    yield Parameter(
        "autovacuum_vacuum_insert_scale_factor", "0.05", "insert-only tables get their visibility map, hence index-only scans, early"
    )
    cost = "1000" if host.disk == "rotating" else "2000"
    yield Parameter("autovacuum_vacuum_cost_limit", cost, "vacuum has to keep up with ingest; the default is made for small disks")


def _observation(features: Features) -> Iterator[Parameter]:
    if features.statements:
        yield Parameter("shared_preload_libraries", "pg_stat_statements", "time and calls of every statement")
        yield Parameter("pg_stat_statements.max", "5000", "distinct statements kept")
        yield Parameter("pg_stat_statements.track", "all", "statements inside functions too")
    yield Parameter("track_io_timing", "on", "shows whether a slow statement waited for the disk; the clock is cheap here")
    yield Parameter("track_activity_query_size", "4kB", "long statements stay readable in pg_stat_activity")
    yield Parameter("log_checkpoints", "on", "a checkpoint forced by WAL volume means max_wal_size is too small")
    yield Parameter("log_lock_waits", "on", "names who waits for whom after deadlock_timeout")
    yield Parameter("log_autovacuum_min_duration", "10s", "long vacuums are worth a line")
    yield Parameter("log_temp_files", "64MB", "large sorts that spill say that work_mem is too small")
    yield Parameter("log_parameter_max_length", "0", "values never reach the log")
    yield Parameter("log_parameter_max_length_on_error", "0", "values never reach the log")
    yield Parameter("log_line_prefix", "%m [%p] %q%u@%d %a ", "time, process, user, database and application of every line")


def clamp(value: int, low: int, high: int) -> int:
    """Return the value, or the bound it passes."""
    return max(low, min(high, value))


def show_size(size: int) -> str:
    """Return a size as the server reads and people write it, rounded down to what its unit can say."""
    for unit, factor in (("GB", GB), ("MB", MB)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size // MB}MB" if size >= 16 * MB else f"{size // 1024}kB"
