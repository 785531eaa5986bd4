"""Statements that SQLAlchemy has no words for. Each function returns one statement, without its semicolon."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

from psycopg import sql

from chainstrata.migrate.text import compose, literal, literals, name, raw

OBJECT_WORDS: Final[Mapping[str, LiteralString]] = {
    "schema": "SCHEMA",
    "table": "TABLE",
    "column": "COLUMN",
    "index": "INDEX",
    "domain": "DOMAIN",
    "enum": "TYPE",
    "function": "FUNCTION",
    "view": "VIEW",
    "materialized view": "MATERIALIZED VIEW",
    "trigger": "TRIGGER",
    "constraint": "CONSTRAINT",
}


def comment_on(kind: LiteralString, named: sql.Composable, comment: str) -> str:
    """Return COMMENT ON; an empty comment takes the old one away."""
    return compose("COMMENT ON {} {} IS {}", sql.SQL(kind), named, literal(comment) if comment else sql.SQL("NULL"))


def create_extension(extension: str) -> str:
    # In public, because that is where everyone looks; what is installed elsewhere stays there.
    return compose("CREATE EXTENSION IF NOT EXISTS {} SCHEMA public", name(extension))


def create_enum(full_name: str, labels: Sequence[str]) -> str:
    return compose("CREATE TYPE {} AS ENUM ({})", name(full_name), literals(tuple(labels)))


def create_domain(full_name: str, base: str, *, checks: Mapping[str, str] | None = None, not_null: bool = False, default: str = "") -> str:
    parts: list[sql.Composable] = [sql.SQL("CREATE DOMAIN {} AS {}").format(name(full_name), raw(base))]
    if default:
        parts.append(sql.SQL("DEFAULT {}").format(raw(default)))
    if not_null:
        parts.append(sql.SQL("NOT NULL"))
    parts += [sql.SQL("CONSTRAINT {} CHECK ({})").format(name(check), raw(condition)) for check, condition in (checks or {}).items()]
    return sql.SQL(" ").join(parts).as_string()


def set_policy(dataset: str, policy: str) -> str:
    """Return the statement that records what should happen to a dataset; `policy` is JSON."""
    return compose(
        "INSERT INTO strata.dataset (name, policy) VALUES ({}, {}) ON CONFLICT (name) DO UPDATE SET policy = EXCLUDED.policy",
        literal(dataset),
        literal(policy),
    )


def remove_policy(dataset: str) -> str:
    return compose("DELETE FROM strata.dataset WHERE name = {}", literal(dataset))
