"""Which files of rows are meant: those named, and those of a directory that is named."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chainstrata.errors import UsageError
from chainstrata.ingest.intake import SUFFIXES
from chainstrata.ingest.payload import Format

STDIN = Path("-")


def find_files(paths: Sequence[Path], *, format: Format | None = None, named: bool = False) -> list[Path]:  # noqa: A002  # as everybody calls it
    """Return the files to read, in order; of a directory those whose names tell what they hold, sorted.

    Raises `UsageError` if any cannot be read, before anything is. `named`: each is to have a name of its own.
    """
    files: list[Path] = []
    for path in paths:
        if path == STDIN:
            if format is None:
                raise UsageError("standard input does not tell what format it is", hint="Name it: --format ndjson.")
            files.append(path)
        elif path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.is_file() and one.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{path}: no file of rows in this directory", hint=f"Their names end in {', '.join(SUFFIXES)}.")
            files += inside
        else:
            _check(path, format)
            files.append(path)
    twice = [name for name, count in Counter(path.name for path in files).items() if count > 1]
    if named and twice:
        raise UsageError(f"two files are called {twice[0]}", hint="In a load with a name a file is known by its own: load them one by one.")
    return files


def _check(path: Path, format: Format | None) -> None:  # noqa: A002  # as everybody calls it
    if format is None and path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: cannot tell what format it is", hint=f"Name it with --format, or end the name in {', '.join(SUFFIXES)}.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}", hint="Nothing was read. Name files and directories that are there."
        ) from error
