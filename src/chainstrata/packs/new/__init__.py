"""A user's own pack, to begin with: `write_pack` writes a project that installs, migrates and passes its tests as it is."""

import keyword
import re
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from chainstrata.errors import UsageError
from chainstrata.packs import ENTRY_POINT_GROUP

__all__ = ["PackNameUnusable", "PlaceTaken", "write_pack"]

PLACEHOLDER = "mychain"
SUFFIX = ".tmpl"
# Schemas that are PostgreSQL's or ours.
RESERVED = {"strata", "public", "information_schema", "chainstrata", "new"}
_NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")


class PackNameUnusable(UsageError):
    """A pack is a schema, a Python package and a part of dataset names, and its name has to fit all three."""

    code = "pack_name_unusable"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"a pack cannot be called {name!r}: {problem}", hint="As in cosmos or my_chain: 2 to 31 lower-case letters, digits and _."
        )


class PlaceTaken(UsageError):
    """Something is where the project would go."""

    code = "place_taken"
    http_status = 409

    def __init__(self, place: Path) -> None:
        super().__init__(f"{place} is there and is not empty", hint="Name another place with --directory.")


def write_pack(name: str, directory: Path) -> list[Path]:
    """Write the project of a pack called `name` into `directory`, new or empty, and return its files."""
    check_name(name)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise PlaceTaken(directory)
    written = []
    for path, text in _render(files("chainstrata.packs.new") / "template", Path(), name):
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return sorted(written)


def check_name(name: str) -> None:
    """Raise `PackNameUnusable` unless a schema, a Python package and datasets can bear this name."""
    if not _NAME.fullmatch(name):
        raise PackNameUnusable(name, "it does not fit a schema and a Python package")
    if name in RESERVED or name.startswith("pg_") or keyword.iskeyword(name):
        raise PackNameUnusable(name, "that name means something else")
    if name in {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}:
        raise PackNameUnusable(name, "a pack of that name is installed")


def _render(place: Traversable, path: Path, name: str) -> list[tuple[Path, str]]:
    rendered = []
    for entry in place.iterdir():
        if entry.is_dir():
            rendered += _render(entry, path / entry.name.replace(PLACEHOLDER, name), name)
        elif entry.name.endswith(SUFFIX):
            own = entry.name.removesuffix(SUFFIX).replace(PLACEHOLDER, name)
            text = entry.read_text(encoding="utf-8")
            # The name of a distribution has dashes where a package has underscores.
            text = text.replace(f"chainstrata-{PLACEHOLDER}", f"chainstrata-{name.replace('_', '-')}").replace(PLACEHOLDER, name)
            rendered.append((path / (".gitignore" if own == "gitignore" else own), text))
    return rendered
