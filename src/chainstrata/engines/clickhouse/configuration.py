"""What the embedded engine is told at its start, sized for the machine. `plan_settings` shows every figure with its reason."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from chainstrata.config import CLICKHOUSE_FSYNC, CLICKHOUSE_MEMORY_MB, CLICKHOUSE_QUERY_MEMORY_MB, Config
from chainstrata.engines.postgres.host import MB, Host, inspect_host

_LEAST_MEMORY: Final = 512 * MB
_LARGEST_CACHE: Final = 5 * 1024 * MB
_MOST_MERGES: Final = 16
_TOKENS_KEPT: Final = 10_000
_LOG_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class EngineSetting:
    """One setting of the engine: `name` is its path in the configuration file."""

    name: str
    value: str
    reason: str


def memory_bytes(config: Config, host: Host | None = None) -> int:
    """Return the memory the engine may use."""
    found = host or inspect_host(config.home)
    return config[CLICKHOUSE_MEMORY_MB] * MB or max(_LEAST_MEMORY, found.memory_bytes // 4)


def query_memory_bytes(config: Config, host: Host | None = None) -> int:
    """Return the memory one query may use."""
    return config[CLICKHOUSE_QUERY_MEMORY_MB] * MB or memory_bytes(config, host) // 2


def plan_settings(config: Config, backups: Path) -> list[EngineSetting]:
    """Return what an embedded engine of this configuration is told, each with its reason. Starts nothing."""
    host = inspect_host(config.home)
    memory = memory_bytes(config, host)
    cache = min(memory // 8, _LARGEST_CACHE)
    merges = max(2, min(host.cores, _MOST_MERGES))
    fsync = "1" if config[CLICKHOUSE_FSYNC] else "0"
    origin = "clickhouse.memory_mb" if config[CLICKHOUSE_MEMORY_MB] else f"a quarter of {host.memory_from}"
    durable = "an insert counts as done when it is on the disk (clickhouse.fsync)"
    return [
        EngineSetting("max_server_memory_usage", str(memory), origin),
        EngineSetting("mark_cache_size", str(cache), "an eighth of the engine's memory: where in a file a row is"),
        EngineSetting("uncompressed_cache_size", str(cache), "an eighth; used by queries that set use_uncompressed_cache"),
        EngineSetting("background_pool_size", str(merges), "merges at once: one for each core"),
        EngineSetting("timezone", "UTC", "an instant is shown the same everywhere"),
        EngineSetting("backups/allowed_path", str(backups), "where BACKUP may write"),
        EngineSetting("query_log/database", "system", "what ran, for columnar advise"),
        EngineSetting("query_log/table", "query_log", "what ran, for columnar advise"),
        EngineSetting("query_log/flush_interval_milliseconds", "5000", "SYSTEM FLUSH LOGS brings it forward"),
        EngineSetting("query_log/ttl", f"event_date + INTERVAL {_LOG_DAYS} DAY", "a week of queries tells enough"),
        EngineSetting("part_log/database", "system", "what was written and merged"),
        EngineSetting("part_log/table", "part_log", "what was written and merged"),
        EngineSetting("part_log/flush_interval_milliseconds", "5000", "SYSTEM FLUSH LOGS brings it forward"),
        EngineSetting("part_log/ttl", f"event_date + INTERVAL {_LOG_DAYS} DAY", "a week tells enough"),
        EngineSetting("merge_tree/fsync_after_insert", fsync, durable),
        EngineSetting("merge_tree/fsync_part_directory", fsync, durable),
        EngineSetting("merge_tree/non_replicated_deduplication_window", str(_TOKENS_KEPT), "inserts whose token is remembered"),
        EngineSetting("merge_tree/lightweight_mutation_projection_mode", "rebuild", "a DELETE keeps projections right"),
    ]


def render_configuration(settings: list[EngineSetting]) -> str:
    """Return the configuration file."""
    tree: dict[str, str | dict[str, str]] = {}
    for setting in settings:
        section, _, name = setting.name.rpartition("/")
        if section:
            inside = tree.setdefault(section, {})
            assert isinstance(inside, dict)  # noqa: S101  # no name is both a value and a section
            inside[name] = setting.value
        else:
            tree[name] = setting.value
    lines = ["<clickhouse>"]
    for name, value in tree.items():
        if isinstance(value, str):
            lines.append(f"    <{name}>{escape(value)}</{name}>")
        else:
            lines += [f"    <{name}>", *(f"        <{one}>{escape(text)}</{one}>" for one, text in value.items()), f"    </{name}>"]
    return "\n".join([*lines, "</clickhouse>", ""])
