"""The job queue's own schema, as procrastinate's releases have it: the steps it publishes, from one of its versions to another.

A step never changes once it is released, so a version here is the name of the last step, and the digest of all steps up to it
pins every statement. What is made lives in a schema of its own, whose comment bears the version.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from chainstrata.errors import DeclarationError
from chainstrata.migrate.text import compose, literal, name
from chainstrata.model.queue import QUEUE_SCHEMA

_COMMENT: Final = "Job queue: procrastinate "
_REMEMBER: Final = "SELECT set_config('chainstrata.search_path', current_setting('search_path'), true)"
_RESTORE: Final = "SELECT set_config('search_path', current_setting('chainstrata.search_path'), true)"
_ADDS: Final = re.compile(r"ALTER TYPE (?P<type>\w+) ADD VALUE (?P<value>'\w+')(?: (?P<where>BEFORE|AFTER) (?P<other>'\w+'))?;\n?")
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
    steps = make_whole([text for step, text in _steps().items() if since < step <= version])
    path = compose("SET LOCAL search_path = {}, pg_catalog", place)
    says = compose("COMMENT ON SCHEMA {} IS {}", place, literal(comment(version)))
    return [*made, _REMEMBER, path, *steps, _SETTLE, says, _RESTORE]


def make_whole(steps: Sequence[str]) -> list[str]:
    """Return steps with every value of an enum in the statement that makes it, where one of them does.

    Before PostgreSQL 17 a value that is added to an enum cannot be used in the same transaction, not even where that made the enum.
    """
    made = list(steps)
    for place, text in enumerate(steps):
        for added in _ADDS.finditer(text):
            within = re.compile(rf"(CREATE TYPE {added['type']} AS ENUM \()(.*?)(\n\);)", re.DOTALL)
            found = next((number for number in range(place + 1) if within.search(made[number])), None)
            if found is None:
                continue
            made[place] = made[place].replace(added[0], "")
            made[found] = within.sub(partial(_with_value, added), made[found], count=1)
    return [text for text in made if text.strip()]


def _with_value(added: re.Match[str], found: re.Match[str]) -> str:
    value, other = added["value"], added["other"]
    both = {"BEFORE": f"{value}, {other}", "AFTER": f"{other}, {value}"}
    body = found[2].replace(other, both[added["where"]], 1) if other else f"{found[2]}\n    , {value}"
    return found[1] + body + found[3]


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
