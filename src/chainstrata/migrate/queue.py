"""The job queue's own schema, as procrastinate's releases have it: the steps it publishes, from one of its versions to another.

A step never changes once it is released, so a version here is the name of the last step, and the digest of all steps up to it
pins every statement. What is made lives in a schema of its own, whose comment bears the version.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from chainstrata.errors import DeclarationError
from chainstrata.migrate.text import compose, literal, name
from chainstrata.model.queue import QUEUE_SCHEMA

_COMMENT: Final = "Job queue: procrastinate "
_REMEMBER: Final = "SELECT set_config('chainstrata.search_path', current_setting('search_path'), true)"
_RESTORE: Final = "SELECT set_config('search_path', current_setting('chainstrata.search_path'), true)"
# Theirs find their tables by the caller's search path; with one of their own they work whoever calls.
_SETTLE: Final = """DO $$
DECLARE
    named regprocedure;
BEGIN
    FOR named IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'procrastinate'::regnamespace ORDER BY proname LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = procrastinate, pg_catalog', named);
    END LOOP;
END
$$"""


def comment(version: str) -> str:
    """Return the comment of the queue's schema at a version."""
    return _COMMENT + version


def read_version(text: str) -> str:
    """Return the version that a comment bears."""
    return text.removeprefix(_COMMENT)


def create(version: str, *, since: str = "", sha256: str = "") -> list[str]:
    """Return the statements that bring the queue's schema from one version, or from nothing, to another.

    Raises `DeclarationError` when the steps are not those that `sha256` was taken of.
    """
    found = digest(version)
    if sha256 and sha256 != found:
        raise DeclarationError(
            "strata",
            "queue",
            f"the steps of the job queue up to {version} are not those of this release (are {found:.8}, should be {sha256:.8})",
            hint="Install procrastinate as this release asks for it: pip install --force-reinstall procrastinate.",
        )
    place = name(QUEUE_SCHEMA)
    made = [] if since else [compose("CREATE SCHEMA {}", place)]
    steps = [text for step, text in _steps().items() if since < step <= version]
    path = compose("SET LOCAL search_path = {}, pg_catalog", place)
    says = compose("COMMENT ON SCHEMA {} IS {}", place, literal(comment(version)))
    return [*made, _REMEMBER, path, *steps, _SETTLE, says, _RESTORE]


def drop() -> list[str]:
    """Return the statements that take the queue away."""
    return [compose("DROP SCHEMA {} CASCADE", name(QUEUE_SCHEMA))]


def digest(version: str) -> str:
    """Return the SHA-256 of all steps up to a version."""
    known = _steps()
    if version not in known:
        raise DeclarationError(
            "strata",
            "queue",
            f"the procrastinate that is installed has no step {version}",
            hint="Install procrastinate as this release asks for it: pip install --upgrade procrastinate.",
        )
    whole = hashlib.sha256()
    for step, text in known.items():
        if step <= version:
            whole.update(f"{step}\n{text}\n".encode())
    return whole.hexdigest()


def newest() -> str:
    """Return the newest version that the installed procrastinate has."""
    return list(_steps())[-1]


@cache
def _steps() -> dict[str, str]:
    return dict(_read_steps())


def _read_steps() -> Iterator[tuple[str, str]]:
    # Found without importing it: that takes longer than all else here.
    found = find_spec("procrastinate")
    places = found.submodule_search_locations if found is not None else None
    for path in sorted(Path(place, "sql", "migrations") for place in places or ()):
        for file in sorted(path.glob("*.sql"), key=lambda file: file.name):
            yield file.stem, file.read_text(encoding="utf-8").strip().removesuffix(";")
