"""A PostgreSQL of the benchmark's own: the embedded one as the node runs it, in a directory that goes away again."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chainstrata.config import HOME, POSTGRES_BIN, POSTGRES_EXTRA, Config, load_config
from chainstrata.engines.postgres import Database, EmbeddedPostgres
from chainstrata.engines.postgres.locate import locate_binaries

BIN = os.environ.get("CHAINSTRATA_TEST_POSTGRES_BIN", "")  # noqa: TID251
"""Other binaries to run the server from, as tests take them; those with TimescaleDB have it measured, too."""


@asynccontextmanager
async def fresh_server() -> AsyncIterator[tuple[EmbeddedPostgres, Config]]:
    """Start an empty server with the settings a node would have on this machine; fsync is on, as for a user."""
    with tempfile.TemporaryDirectory(prefix="chainstrata-bench-", ignore_cleanup_errors=True) as directory:
        # Open to the user that the server runs as; what it cannot reach would be kept elsewhere, and stay there.
        Path(directory).chmod(0o755)
        flags: dict[str, object] = {HOME.key: Path(directory, "home")}
        if BIN:
            flags[POSTGRES_BIN.key] = Path(BIN)
            if locate_binaries(Path(BIN)).has_library("timescaledb"):
                flags[POSTGRES_EXTRA.key] = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
        config = load_config(flags, environment={}, directory=Path(directory))
        async with EmbeddedPostgres(config) as server:
            yield server, config


def describe_server(database: Database) -> dict[str, str]:
    """Return the server's version, for the description of the machine."""
    major, minor = divmod(database.server_version, 10000)
    return {"PostgreSQL": f"{major}.{minor}"}
