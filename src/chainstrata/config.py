"""Settings: one registry that gives the TOML key, the environment variable, the flag and the reference page.

A value comes from, strongest first: a flag, the environment (`CHAINSTRATA_` and the key in capitals, dots as
underscores), the TOML file, libpq's own `PG*` variables where a setting names one, the default. This is the only module
that reads the environment. A `Config` is read-only and remembers where every value came from.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

from chainstrata.errors import ConfigError, UnknownName

CONFIG_FILE = "chainstrata.toml"
HOME_DIRECTORY = ".chainstrata"
ENVIRONMENT_PREFIX = "CHAINSTRATA_"
# Not settings: what the test suite is told about the machine it runs on.
TEST_PREFIX = ENVIRONMENT_PREFIX + "TEST_"
MASK = "********"

Applies = Literal["at once", "next run", "restart", "first start"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One thing a user can set. `check` returns what is wrong with a value, or an empty string."""

    key: str
    type: type[T]
    default: T
    doc: str
    applies: Applies = "restart"
    secret: bool = False
    libpq: str = ""
    check: Callable[[T], str] | None = None

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.key.upper().replace(".", "_")

    @property
    def flag(self) -> str:
        return "--" + self.key.replace(".", "-").replace("_", "-")


REGISTRY: dict[str, Setting[Any]] = {}


def _setting(key: str, kind: type[T], default: T, doc: str, **options: Any) -> Setting[T]:
    setting = Setting(key, kind, default, doc, **options)
    if key in REGISTRY:
        raise ConfigError([f"{key}: declared twice"])
    REGISTRY[key] = setting
    return setting


def _zero(value: Any) -> Any:
    return timedelta(0) if isinstance(value, timedelta) else 0


def _positive(value: Any) -> str:
    return "" if value > _zero(value) else f"must be positive (got {show_value(value)})"


def _not_negative(value: Any) -> str:
    return "" if value >= _zero(value) else f"must not be negative (got {show_value(value)})"


def _port(value: int) -> str:
    return "" if 0 <= value <= 65535 else f"must be a port from 1 to 65535, or 0 to have one picked (got {value})"


def _one_of(*choices: str) -> Callable[[str], str]:
    return lambda value: "" if value in choices else f"must be one of {', '.join(choices)} (got {value!r})"


# The node -----------------------------------------------------------------------------------------------------------
HOME = _setting(
    "home",
    Path,
    Path(),
    "Directory that holds everything the node keeps. Empty: the nearest directory above that has one.",
)
MODE = _setting(
    "mode",
    str,
    "development",
    "In production nothing embedded is started in place of an engine that has no URL, and missing engines stop the node.",
    check=_one_of("development", "production"),
)
NODE_HOST = _setting("node.host", str, "127.0.0.1", "Address the API and the status page listen on.")
NODE_PORT = _setting("node.port", int, 0, "Port of the API and the status page. 0 picks the first free one from 8640 on.", check=_port)
NODE_STOP_TIMEOUT = _setting(
    "node.stop_timeout",
    timedelta,
    timedelta(seconds=30),
    "How long services may take to finish what is in hand when the node stops.",
    check=_not_negative,
)
NODE_DEMO = _setting("node.demo", bool, False, "Let the node send rows that are made up, as the sources of every pack would.")
NODE_DEMO_RATE = _setting("node.demo_rate", int, 200, "Rows a second that a demonstration sends, all packs together.", check=_positive)
API_LOCAL_READS = _setting(
    "api.local_reads",
    bool,
    True,
    "In development mode, while node.host is a loopback address, programs on this machine read without a key. Writing always takes one.",
)
API_RATE = _setting(
    "api.rate", int, 1000, "Requests a second that one key may make, twice as many in a burst; 0 for any number.", check=_not_negative
)
PACKS = _setting("packs", list, [], "Packs to load, by name. Empty: every installed pack.")
LOG_LEVEL = _setting("log.level", str, "info", "How much the node logs.", check=_one_of("debug", "info", "warning", "error"))

# PostgreSQL ---------------------------------------------------------------------------------------------------------
POSTGRES_URL = _setting(
    "postgres.url",
    str,
    "",
    "Connection URL or conninfo of an existing PostgreSQL 15 or newer. Empty: the embedded one.",
    secret=True,
)
POSTGRES_PORT = _setting(
    "postgres.port",
    int,
    0,
    "Port of the embedded PostgreSQL. 0 picks a free one from 5480 on and keeps it.",
    check=_port,
)
POSTGRES_DATABASE = _setting("postgres.database", str, "chainstrata", "Database of the embedded PostgreSQL.", applies="first start")
POSTGRES_BIN = _setting("postgres.bin", Path, Path(), "Directory with the PostgreSQL binaries to run embedded. Empty: the best found.")
POSTGRES_RUN_AS = _setting("postgres.run_as", str, "nobody", "System user the embedded PostgreSQL runs as when the node runs as root.")
POSTGRES_MEMORY_MB = _setting(
    "postgres.memory_mb",
    int,
    0,
    "Memory the embedded PostgreSQL is sized for. 0: what the host or its control group has.",
    check=_not_negative,
)
POSTGRES_MAX_CONNECTIONS = _setting("postgres.max_connections", int, 100, "Connections the embedded PostgreSQL accepts.", check=_positive)
POSTGRES_START_TIMEOUT = _setting(
    "postgres.start_timeout",
    timedelta,
    timedelta(minutes=10),
    "How long a start, crash recovery included, may take.",
    check=_positive,
)
POSTGRES_STOP_TIMEOUT = _setting(
    "postgres.stop_timeout",
    timedelta,
    timedelta(seconds=60),
    "How long a clean stop may take before it is made quick.",
    check=_positive,
)
POSTGRES_EXTRA: Setting[dict[str, Any]] = _setting(
    "postgres.extra", dict, {}, "More PostgreSQL parameters for the embedded server, by name; they win over the tuner."
)

# The pool -----------------------------------------------------------------------------------------------------------
POOL_MIN = _setting("pool.min_size", int, 5, "Connections kept open in each process.", check=_not_negative)
POOL_MAX = _setting("pool.max_size", int, 25, "Connections a process may open.", check=_positive)
POOL_MAX_LIFETIME = _setting("pool.max_lifetime", timedelta, timedelta(hours=1), "Age at which a connection is replaced.", check=_positive)
POOL_MAX_IDLE = _setting(
    "pool.max_idle",
    timedelta,
    timedelta(minutes=30),
    "Idle time after which a spare connection is closed.",
    check=_positive,
)
POOL_CHECK_EVERY = _setting("pool.check_every", timedelta, timedelta(minutes=1), "How often idle connections are checked.", check=_positive)
POOL_ACQUIRE_TIMEOUT = _setting(
    "pool.acquire_timeout",
    timedelta,
    timedelta(seconds=30),
    "How long a caller waits for a connection.",
    check=_positive,
)
POOL_PROCESSES = _setting(
    "pool.processes",
    int,
    1,
    "Processes that open a pool on this database; together they must fit max_connections.",
    check=_positive,
)
POOL_RESERVED = _setting("pool.reserved", int, 10, "Connections left for people, backups and replication.", check=_not_negative)
STATEMENT_TIMEOUT = _setting(
    "pool.statement_timeout",
    timedelta,
    timedelta(seconds=60),
    "Longest time a statement of the pool may run.",
    check=_positive,
)
SLOW_QUERY = _setting(
    "pool.slow_query",
    timedelta,
    timedelta(milliseconds=200),
    "Statements slower than this are logged, without their parameters.",
    check=_positive,
)
POOL_PREPARE = _setting(
    "pool.prepare",
    bool,
    True,
    "Keep statements prepared on the server. Off for a PgBouncer in transaction mode older than 1.21.",
)
RETRY_ATTEMPTS = _setting(
    "pool.retry_attempts",
    int,
    5,
    "Tries of a transaction that meets a serialization failure or a deadlock.",
    check=_positive,
)
RETRY_DEADLINE = _setting(
    "pool.retry_deadline",
    timedelta,
    timedelta(seconds=30),
    "Time after which such a transaction is not tried again.",
    check=_positive,
)

# The columnar engine ----------------------------------------------------------------------------------------------------
CLICKHOUSE_URL = _setting(
    "clickhouse.url",
    str,
    "",
    "URL of an existing ClickHouse, as https://user:password@host:8443. Empty: the embedded engine, where it is installed.",
    secret=True,
)
CLICKHOUSE_EMBEDDED = _setting(
    "clickhouse.embedded", bool, True, "Run the embedded columnar engine where clickhouse.url is empty. Off: there is none."
)
CLICKHOUSE_DATABASE = _setting(
    "clickhouse.database", str, "chainstrata", "Database of the columnar engine that holds every pack's tables.", applies="first start"
)
CLICKHOUSE_CLUSTER = _setting(
    "clickhouse.cluster",
    str,
    "",
    "Cluster to spread tables over, by its name in the servers' configuration: replicated tables behind distributed ones. Empty: one server.",
    applies="first start",
)
CLICKHOUSE_PORT = _setting(
    "clickhouse.port",
    int,
    0,
    "Port of the embedded columnar engine. 0 picks a free one from 8560 on and keeps it.",
    check=_port,
)
CLICKHOUSE_MEMORY_MB = _setting(
    "clickhouse.memory_mb",
    int,
    0,
    "Memory of the embedded columnar engine; queries beyond it are refused. 0: a quarter of what the host or its control group has.",
    check=_not_negative,
)
CLICKHOUSE_QUERY_MEMORY_MB = _setting(
    "clickhouse.query_memory_mb",
    int,
    0,
    "Memory one query of the embedded engine may use. 0: half of clickhouse.memory_mb.",
    check=_not_negative,
)
CLICKHOUSE_CONNECTIONS = _setting("clickhouse.connections", int, 8, "Queries the embedded engine runs at once; more wait.", check=_positive)
CLICKHOUSE_FSYNC = _setting(
    "clickhouse.fsync",
    bool,
    True,
    "Bring every insert to the disk before it counts as done. Off: faster small inserts that a crash of the machine may take back.",
)
CLICKHOUSE_QUERY_TIMEOUT = _setting(
    "clickhouse.query_timeout", timedelta, timedelta(seconds=60), "Longest time a columnar statement may run.", check=_positive
)
CLICKHOUSE_START_TIMEOUT = _setting(
    "clickhouse.start_timeout", timedelta, timedelta(minutes=5), "How long the embedded engine may take to start.", check=_positive
)
CLICKHOUSE_STOP_TIMEOUT = _setting(
    "clickhouse.stop_timeout", timedelta, timedelta(seconds=30), "How long it may take to stop before it is ended.", check=_positive
)

# Migrations ---------------------------------------------------------------------------------------------------------
MIGRATE_LOCK_TIMEOUT = _setting(
    "migrate.lock_timeout",
    timedelta,
    timedelta(seconds=3),
    "Longest wait for a table lock before the step gives way and tries again.",
    check=_positive,
)
MIGRATE_LOCK_ATTEMPTS = _setting("migrate.lock_attempts", int, 10, "Tries of a step that could not get its lock.", check=_positive)
MIGRATE_STATEMENT_TIMEOUT = _setting(
    "migrate.statement_timeout",
    timedelta,
    timedelta(hours=4),
    "Longest time one statement of a migration may run, such as the build of an index.",
    check=_positive,
)
MIGRATE_WAIT_TIMEOUT = _setting(
    "migrate.wait_timeout",
    timedelta,
    timedelta(minutes=10),
    "How long to wait for another migration of the same database to end.",
    check=_positive,
)
MIGRATE_DIRECTORY = _setting("migrate.directory", Path, Path(), "Where `migrate make` writes. Empty: the pack's own migrations directory.")

# Ingest -----------------------------------------------------------------------------------------------------------------
INGEST_PAYLOAD_BYTES = _setting(
    "ingest.payload_bytes", int, 64 * 1024 * 1024, "Largest body of rows taken from the network, as it comes.", check=_positive
)
INGEST_PAYLOAD_UNPACKED = _setting(
    "ingest.payload_unpacked",
    int,
    256 * 1024 * 1024,
    "Bytes such a body may become when it is decompressed and decoded; what would become more is refused before it does.",
    check=_positive,
)
INGEST_PAYLOAD_ROWS = _setting("ingest.payload_rows", int, 5_000_000, "Most rows such a body may have.", check=_positive)
INGEST_PATIENCE = _setting(
    "ingest.patience",
    timedelta,
    timedelta(seconds=5),
    "How long a batch waits for its turn and for a connection before it goes to the spool.",
    check=_positive,
)
INGEST_QUEUE_BYTES = _setting(
    "ingest.queue_bytes", int, 256 * 1024 * 1024, "Bytes of rows that may be on their way in at once; others wait.", check=_positive
)
INGEST_QUEUE_BATCHES = _setting(
    "ingest.queue_batches", int, 10_000, "Batches that may be on their way in at once; others wait.", check=_positive
)
INGEST_WRITERS = _setting("ingest.writers", int, 4, "Large batches written at once by a process.", check=_positive)
INGEST_GATHER_DELAY = _setting(
    "ingest.gather_delay",
    timedelta,
    timedelta(milliseconds=5),
    "Longest that a small batch waits for others to share its transaction. One that comes alone does not wait.",
    check=_not_negative,
)
INGEST_GATHER_ROWS = _setting(
    "ingest.gather_rows", int, 1_000, "Rows up to which a batch shares a transaction; 0 has each have its own.", check=_not_negative
)
INGEST_SPOOL_BYTES = _setting(
    "ingest.spool_bytes",
    int,
    1024 * 1024 * 1024,
    "Bytes that batches may take in the spool of the home while PostgreSQL is away; beyond that writers are told to try later.",
    check=_not_negative,
)
INGEST_RETRY_AFTER = _setting(
    "ingest.retry_after",
    timedelta,
    timedelta(seconds=5),
    "After how long a writer that finds no room is told to try again.",
    check=_positive,
)

# Roll-ups ---------------------------------------------------------------------------------------------------------------
ROLLUPS_EVERY = _setting(
    "rollups.every", timedelta, timedelta(seconds=1), "How often the node looks for roll-ups that are behind.", check=_positive
)

# Change capture ---------------------------------------------------------------------------------------------------------
CDC_ENABLED = _setting(
    "cdc.enabled",
    str,
    "auto",
    "Whether the node keeps mirrors in the columnar engine up with PostgreSQL: on, off, or auto, which is on where both are embedded.",
    check=_one_of("auto", "on", "off"),
)
CDC_SLOT = _setting("cdc.slot", str, "", "Replication slot to read by. Empty: one named after the database's number.")
CDC_BATCH_DELAY = _setting(
    "cdc.batch_delay",
    timedelta,
    timedelta(milliseconds=200),
    "Longest time changes are put together before they are written to the mirrors.",
    check=_positive,
)
CDC_BATCH_BYTES = _setting(
    "cdc.batch_bytes", int, 8 * 1024 * 1024, "Size at which a batch of changes is written without waiting for more.", check=_positive
)
CDC_HEARTBEAT = _setting(
    "cdc.heartbeat",
    timedelta,
    timedelta(seconds=10),
    "How often a mark is put into the log, so that a quiet database keeps no log back and its lag is known.",
    check=_positive,
)
CDC_DEAD_LETTERS = _setting(
    "cdc.dead_letters", int, 1000, "Changes of one batch that may be put aside; beyond that the mirror stops instead.", check=_not_negative
)
CDC_KEPT_MB = _setting(
    "cdc.kept_mb",
    int,
    4096,
    "Log the server may keep for mirrors that are paused or stopped; beyond it they are given up and need `cdc resync`.",
    check=_positive,
)
CDC_COPY_ROWS = _setting("cdc.copy_rows", int, 200_000, "Rows of a piece of the copy that a mirror begins with, about.", check=_positive)
CDC_COPY_WORKERS = _setting("cdc.copy_workers", int, 2, "Pieces that are copied at the same time.", check=_positive)

# Partitions ---------------------------------------------------------------------------------------------------------
PARTITIONS_TIMESCALE = _setting(
    "partitions.timescale",
    list,
    [],
    "Packs and datasets, by name, whose partitioned tables are made as hypertables of TimescaleDB; `all` for every one. "
    "Tables that are there stay as they are.",
    applies="next run",
)
PARTITIONS_LOCK_TIMEOUT = _setting(
    "partitions.lock_timeout",
    timedelta,
    timedelta(milliseconds=400),
    "Longest anybody may queue behind a change of partitions before it gives way and tries again.",
    applies="next run",
    check=_positive,
)
PARTITIONS_LOCK_DEADLINE = _setting(
    "partitions.lock_deadline",
    timedelta,
    timedelta(minutes=10),
    "How long a change of partitions tries for its locks before it fails.",
    applies="next run",
    check=_positive,
)
PARTITIONS_LEAST_AHEAD = _setting(
    "partitions.least_ahead",
    int,
    2,
    "Future partitions below which a table counts as short of them; never more than it makes ahead.",
    applies="next run",
    check=_positive,
)

# Retention and archive ----------------------------------------------------------------------------------------------
ARCHIVE_URL = _setting(
    "archive.url",
    str,
    "",
    "Where archives are: a directory, or s3://bucket/prefix. Empty: the directory archive of the home.",
    applies="next run",
)
ARCHIVE_RESTORED_FOR = _setting(
    "archive.restored_for",
    timedelta,
    timedelta(days=7),
    "How long a period that was put back from the archive stays before it leaves again.",
    applies="next run",
    check=_positive,
)
RETENTION_BATCH_ROWS = _setting(
    "retention.batch_rows",
    int,
    50_000,
    "Rows of a plain table that are archived and deleted in one transaction.",
    applies="next run",
    check=_positive,
)
RETENTION_RELEASE_WAIT = _setting(
    "retention.release_wait",
    timedelta,
    timedelta(seconds=60),
    "How long roll-ups and mirrors may take to catch up with a partition that is archived, before it waits for the next run.",
    applies="next run",
    check=_positive,
)


# Jobs and upkeep ------------------------------------------------------------------------------------------------------
JOBS_LEASE = _setting(
    "jobs.lease",
    timedelta,
    timedelta(seconds=30),
    "How long a worker may be silent before its job is taken up by another; that happens within one and a half times as long.",
    check=_positive,
)
JOBS_AT_ONCE = _setting("jobs.at_once", int, 2, "Jobs that a node works on at the same time.", check=_positive)
BACKFILL_WORKERS = _setting("backfill.workers", int, 2, "Chunks of backfills that a process works on at the same time.", check=_positive)
BACKFILL_LEASE = _setting(
    "backfill.lease",
    timedelta,
    timedelta(seconds=30),
    "How long a worker may be silent before its chunk of a backfill is taken up by another.",
    check=_positive,
)
UPKEEP_VIEWS_EVERY = _setting(
    "upkeep.views_every", timedelta, timedelta(hours=1), "How often materialized views are refreshed.", check=_positive
)
UPKEEP_BLOAT = _setting(
    "upkeep.bloat", int, 40, "Percent of an index that is not needed, from which on it is built anew.", applies="next run", check=_positive
)
UPKEEP_INDEX_BYTES = _setting(
    "upkeep.index_bytes",
    int,
    8 * 1024 * 1024,
    "Size in bytes below which an index is never built anew.",
    applies="next run",
    check=_positive,
)
UPKEEP_MEASURE_BYTES = _setting(
    "upkeep.measure_bytes",
    int,
    4 * 1024**3,
    "Size in bytes above which an index is not read whole to measure its bloat; that is estimated then.",
    applies="next run",
    check=_positive,
)


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from."""

    setting: Setting[Any]
    value: Any
    origin: str

    def shown(self) -> str:
        """Return the value as a person may see it."""
        return MASK if self.setting.secret and self.value else show_value(self.value)


class Config(Mapping[Setting[Any], Any]):
    """Read-only settings. `config[POOL_MAX]` gives the typed value."""

    def __init__(self, values: Mapping[str, Value], file: Path | None, home: Path) -> None:
        self._values = dict(values)
        self.file = file
        self.home = home

    def __getitem__(self, setting: Setting[T]) -> T:
        return cast(T, self._values[setting.key].value)

    def __iter__(self) -> Iterator[Setting[Any]]:
        return (value.setting for value in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        changed = (f"{v.setting.key}={v.shown()}" for v in self._values.values() if v.origin != "default")
        return f"Config(home={self.home}, {', '.join(changed)})"

    def explain(self) -> list[Value]:
        """Return every value with its origin, in the order of the registry."""
        return [self._values[key] for key in REGISTRY]


def load_config(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Config:
    """Return the settings, or raise `ConfigError` naming every problem at once.

    `flags` are keyed by setting key. `environment` and `directory` default to the process's own.
    """
    config, problems = read_config(flags, file=file, environment=environment, directory=directory)
    if problems:
        raise ConfigError(problems)
    return config


def read_config(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> tuple[Config, list[str]]:
    """Return the settings and the list of all problems; a setting with a problem has its default."""
    env = dict(os.environ) if environment is None else dict(environment)
    start = (directory or Path.cwd()).absolute()
    problems: list[str] = []
    path = _find_file(file, env, start)
    in_file = _read_file(path, problems)
    given_flags = {key: value for key, value in (flags or {}).items() if value is not None}
    problems += [_unknown(key, "a flag") for key in given_flags if key not in REGISTRY]
    problems += [_unknown(key, str(path)) for key in in_file if key not in REGISTRY]
    problems += _unknown_environment(env)
    values = {}
    for setting in REGISTRY.values():
        raw, origin = _pick(setting, given_flags, env, in_file, path)
        values[setting.key] = _convert(setting, raw, origin, problems)
    return Config(values, path, _home(values["home"].value, start)), problems


def _find_file(file: Path | None, env: Mapping[str, str], start: Path) -> Path | None:
    named = file or (Path(env[ENVIRONMENT_PREFIX + "CONFIG"]) if env.get(ENVIRONMENT_PREFIX + "CONFIG") else None)
    if named is not None:
        return named.expanduser().absolute()
    candidates = (folder / CONFIG_FILE for folder in (start, *start.parents))
    return next((path for path in candidates if path.is_file()), None)


def _home(value: Path, start: Path) -> Path:
    if value != Path():
        return (start / value.expanduser()).absolute()
    for folder in (start, *start.parents):
        if (folder / HOME_DIRECTORY).is_dir() or (folder / CONFIG_FILE).is_file():
            return folder / HOME_DIRECTORY
    return start / HOME_DIRECTORY


def _read_file(path: Path | None, problems: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return _flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        problems.append(f"{path}: no such file")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path}: {error}")
    return {}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = prefix + name
        whole = key in REGISTRY and REGISTRY[key].type is dict
        if isinstance(value, dict) and not whole:
            flat |= _flatten(value, key + ".")
        else:
            flat[key] = value
    return flat


def _unknown(key: str, origin: str) -> str:
    hint = UnknownName("setting", key, list(REGISTRY)).hint
    return f"{key}: no such setting (from {origin}). {hint}"


def _unknown_environment(env: Mapping[str, str]) -> list[str]:
    known = {setting.environment: setting for setting in REGISTRY.values()} | {ENVIRONMENT_PREFIX + "CONFIG": None}
    ours = [name for name in env if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(TEST_PREFIX)]
    return [f"{name}: no such setting (from the environment)" for name in ours if name not in known]


def _pick(
    setting: Setting[Any],
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    in_file: Mapping[str, Any],
    path: Path | None,
) -> tuple[Any, str]:
    if setting.key in flags:
        return flags[setting.key], setting.flag
    if setting.environment in env:
        return env[setting.environment], setting.environment
    if setting.key in in_file:
        return in_file[setting.key], str(path)
    if setting.libpq and env.get(setting.libpq):
        return env[setting.libpq], setting.libpq
    return setting.default, "default"


def _convert(setting: Setting[Any], raw: Any, origin: str, problems: list[str]) -> Value:
    try:
        value = parse_value(setting.type, raw)
    except ValueError as error:
        problems.append(f"{setting.key}: {error} (got {MASK if setting.secret else repr(raw)}, from {origin})")
        return Value(setting, setting.default, "default")
    wrong = setting.check(value) if setting.check else ""
    if wrong:
        problems.append(f"{setting.key}: {wrong[:-1] + f', from {origin})' if wrong.endswith(')') else wrong + f' (from {origin})'}")
        return Value(setting, setting.default, "default")
    return Value(setting, value, origin)


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def parse_value(kind: type[Any], raw: Any) -> Any:
    """Return `raw`, as a file, the environment or a flag gives it, as `kind`; raise ValueError saying what is wanted."""
    if kind is timedelta:
        return _parse_duration(raw)
    if kind is bool:
        return _parse_bool(raw)
    if kind is list:
        return [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) else list(raw)
    if kind is dict:
        return _parse_dict(raw)
    if kind is Path:
        return Path(raw)
    if kind in (int, float):
        if isinstance(raw, bool):
            raise ValueError("must be a number")
        try:
            return kind(raw)
        except (TypeError, ValueError) as error:
            raise ValueError("must be a whole number" if kind is int else "must be a number") from error
    if not isinstance(raw, str):
        raise ValueError("must be text")
    return raw


def _parse_duration(raw: Any) -> timedelta:
    if isinstance(raw, timedelta):
        return raw
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return timedelta(seconds=raw)
    text = str(raw).strip().lower()
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    parts = _DURATION.findall(body)
    if not parts or _DURATION.sub("", body).strip():
        raise ValueError("must be a duration such as 200ms, 30s, 5min, 1h, 90d or 2w")
    return sign * timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def _parse_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return text in _TRUE


def _parse_dict(raw: Any) -> dict[str, Any]:
    if isinstance(raw, dict):
        return dict(raw)
    pairs = [part.split("=", 1) for part in str(raw).split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("must be pairs such as name=value,name=value")
    return {name.strip(): value.strip() for name, value in pairs}


def show_value(value: Any) -> str:
    """Return a value the way it is written in the file."""
    if isinstance(value, timedelta):
        return _show_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return "" if value == Path() else str(value)
    if isinstance(value, dict):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _show_duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{sign}{int(seconds // size)}{unit}"
    return f"{sign}{seconds * 1000:g}ms"
