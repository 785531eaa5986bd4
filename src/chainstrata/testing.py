"""For the tests of packs: a platform that lives as long as a block, on a PostgreSQL of its own."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chainstrata.config import load_config
from chainstrata.node import Platform, connect

__all__ = ["fresh_platform"]


@asynccontextmanager
async def fresh_platform(*packs: str, settings: Mapping[str, Any] | None = None) -> AsyncIterator[Platform]:
    """A platform with these packs and those they require: migrated, with its partitions, and gone when the block ends.

    It starts an embedded PostgreSQL in a temporary directory, whatever the environment and the settings file of the project say.
    """
    # Not below what is closed to others: run as root, the server is an unprivileged user's.
    place = Path(tempfile.mkdtemp(prefix="chainstrata-"))
    place.chmod(0o755)
    flags = {"home": place / "home", "packs": list(packs), "postgres.memory_mb": 256, **(settings or {})}
    try:
        async with connect(load_config(flags, environment={}, directory=place)) as platform:
            await platform.migrate_up()
            await platform.make_partitions()
            yield platform
    finally:
        shutil.rmtree(place, ignore_errors=True)
