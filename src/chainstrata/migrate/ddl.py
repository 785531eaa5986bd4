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


def add_enum_value(enum: str, label: str, *, before: str = "", after: str = "") -> str:
    place: sql.Composable = sql.SQL("")
    if before or after:
        place = sql.SQL(" BEFORE " if before else " AFTER ") + literal(before or after)
    return compose("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}{}", name(enum), literal(label), place)


def alter_domain(
    domain: str,
    *,
    drop_checks: Sequence[str],
    add_checks: Mapping[str, str],
    not_null: bool | None,
    default: str | None,
) -> list[str]:
    statements = [compose("ALTER DOMAIN {} DROP CONSTRAINT {}", name(domain), name(check)) for check in drop_checks]
    statements += [
        compose("ALTER DOMAIN {} ADD CONSTRAINT {} CHECK ({})", name(domain), name(check), raw(condition))
        for check, condition in add_checks.items()
    ]
    if not_null is not None:
        statements.append(compose("ALTER DOMAIN {} {} NOT NULL", name(domain), sql.SQL("SET" if not_null else "DROP")))
    if default is not None:
        change = sql.SQL("SET DEFAULT ") + raw(default) if default else sql.SQL("DROP DEFAULT")
        statements.append(compose("ALTER DOMAIN {} {}", name(domain), change))
    return statements


def add_constraint(table: str, constraint: str, rule: str) -> str:
    return compose("ALTER TABLE {} ADD CONSTRAINT {} {}", name(table), name(constraint), raw(rule))


def set_options(table: str, options: Mapping[str, str | None]) -> list[str]:
    given = [sql.SQL("{} = {}").format(raw(option), literal(value)) for option, value in options.items() if value is not None]
    reset = [raw(option) for option, value in options.items() if value is None]
    statements = [compose("ALTER TABLE {} RESET ({})", name(table), sql.SQL(", ").join(reset))] if reset else []
    return statements + ([compose("ALTER TABLE {} SET ({})", name(table), sql.SQL(", ").join(given))] if given else [])
