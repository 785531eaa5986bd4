"""`chainstrata psql`: a prompt on the database, with the address and password filled in."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.invocation import settings
from chainstrata.config import POSTGRES_BIN

if TYPE_CHECKING:
    from chainstrata.config import Config

Passed = Annotated[list[str] | None, typer.Argument(help="Options of psql, as -c 'SELECT 1' or -f FILE.")]


async def psql(arguments: Passed = None) -> int:
    """Open psql on the database of the node, or run it with the options given: chainstrata psql -c 'SELECT 1'."""
    from chainstrata.engines.postgres import open_target

    config = settings()
    program = find_psql(config)
    async with open_target(config) as target:
        with tempfile.TemporaryDirectory(prefix="chainstrata-") as directory:
            return await _run(program, target.conninfo, arguments or [], Path(directory, "password"))


def find_psql(config: "Config") -> str:
    """Return the psql beside the server's binaries, or the machine's own; raise `BinariesMissing` without either."""
    from chainstrata.engines.postgres.errors import BinariesMissing
    from chainstrata.engines.postgres.locate import locate_binaries

    try:
        return str(locate_binaries(config[POSTGRES_BIN]).tool("psql"))
    except BinariesMissing:
        found = shutil.which("psql")
        if found is None:
            raise
        return found


async def _run(program: str, conninfo: str, arguments: list[str], password_file: Path) -> int:
    from psycopg import conninfo as libpq

    given = libpq.conninfo_to_dict(conninfo)
    password = given.pop("password", None)
    if password is not None:
        # In a file of ours alone, because everybody on the machine can read a command line.
        password_file.touch(mode=0o600)
        escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
        password_file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
        given["passfile"] = str(password_file)
    # Ctrl-C belongs to psql, which gives up the statement and goes on.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    process = await asyncio.create_subprocess_exec(program, "--dbname", libpq.make_conninfo("", **given), *arguments)
    return await process.wait()
