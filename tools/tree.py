"""Which files the repository consists of, with git or, in an unpacked archive, without."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NOT_OURS = {".git", "__pycache__", "build", "dist", "node_modules"}


def list_files() -> list[Path]:
    """Return every file that is, or would be, committed; relative to the root, sorted."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(_walk())
    return sorted(path for path in map(Path, filter(None, listed.split("\0"))) if (ROOT / path).is_file())


def list_python() -> list[Path]:
    """Return the Python files among them."""
    return [path for path in list_files() if path.suffix == ".py"]


def _walk() -> list[Path]:
    found = []
    for directory, names, files in os.walk(ROOT):
        # Hidden directories are caches and the node's data, but for the one that holds the CI script.
        names[:] = [name for name in names if name == ".ci" or not (name.startswith(".") or name in _NOT_OURS)]
        found += [Path(directory, file).relative_to(ROOT) for file in files]
    return found
