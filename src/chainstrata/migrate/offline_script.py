"""Revisions as one script for psql: what would be run, and the notes that it was."""

from collections.abc import Collection, Sequence

from chainstrata.migrate import history
from chainstrata.migrate.model import Direction, Run
from chainstrata.migrate.offline import GEXEC, from_query
from chainstrata.migrate.planner import Revisions, heads

_HEAD = """-- Run with psql: lines that end with \\gexec let the database say what is to be done.
\\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET search_path = pg_catalog, public;
SET timezone = 'UTC';
"""


def write_script(runs: Sequence[Run], revisions: Revisions, applied: Collection[str]) -> str:
    """Return the script; nothing if there is nothing to do."""
    if not runs:
        return ""
    parts = [_HEAD, *(terminated(statement) for statement in history.HISTORY)]
    then = set(applied)
    for work in runs:
        then = then | {work.revision.name} if work.direction is Direction.UP else then - {work.revision.name}
        parts += _revision(work, heads(revisions, then))
    return "\n".join(parts) + "\n"


def _revision(work: Run, then: list[str]) -> list[str]:
    whole = work.revision.transactional
    lines = ["", f"-- {work.direction} {work.revision.name}: {work.revision.message}"]
    lines += ["BEGIN;"] if whole else []
    for step in work.steps[work.done :]:
        lines += ["BEGIN;"] if not whole and not step.autocommit else []
        lines += [terminated(statement) for statement in step.statements()]
        lines += ["COMMIT;"] if not whole and not step.autocommit else []
    lines += ["BEGIN;"] if not whole else []
    lines += [terminated(statement) for statement in _notes(work, then)]
    return [*lines, "COMMIT;"]


def _notes(work: Run, then: list[str]) -> list[str]:
    revision, queries = work.revision, history.QUERIES
    steps = str(len(work.steps))
    values = {
        "revision": revision.name,
        "pack": revision.pack,
        "checksum": revision.checksum,
        "direction": work.direction.value,
        "step": steps,
        "steps": steps,
    }
    noted = ["begin", "finish_up"] if work.direction is Direction.UP else ["finish_down"]
    texts = [from_query(queries[name].sql, dict(values))[0] for name in (*noted, "clear_heads")]
    texts.append(from_query(queries.add_heads.sql, {"heads": then})[0])
    return [text.removesuffix(GEXEC).rstrip() for text in texts]


def terminated(statement: str) -> str:
    """Return a statement as psql wants it."""
    return statement if statement.endswith(GEXEC) else f"{statement.rstrip().removesuffix(';')};"
