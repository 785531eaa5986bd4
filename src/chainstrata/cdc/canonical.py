"""One text for every value that both engines write alike, so that rows can be compared by checksum where they are.

A row becomes the texts of its columns, each behind its length, so that no two rows run into one text. Its checksum is the first half of
the MD5 of that. Sums of checksums tell which ranges differ; a range is all rows whose key's own MD5 begins alike.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from chainstrata.cdc.shape import Target
from chainstrata.engines.clickhouse import quote_name
from chainstrata.engines.clickhouse.arrow import plain_type

RANGE_DIGITS: Final = 4
"""Hexadecimal digits of a key's MD5 that name its range: 65,536 ranges."""
_INTERVAL: Final[LiteralString] = (
    "'P' || (extract(year FROM {0}) * 12 + extract(month FROM {0}))::bigint || 'M' || extract(day FROM {0})::bigint || 'DT' || "
    "trim_scale((extract(hour FROM {0}) * 3600 + extract(minute FROM {0}) * 60) + extract(microsecond FROM {0}) / 1000000)::text || 'S'"
)
_ELEMENTS: Final[LiteralString] = (
    "CASE WHEN {0} IS NOT NULL THEN "
    "coalesce((SELECT string_agg(octet_length(e::text) || ':' || e::text, '' ORDER BY n) FROM unnest({0}) WITH ORDINALITY AS u (e, n)), '') END"
)
_SOURCE: Final[dict[str, LiteralString]] = {
    "bool": "{0}::int::text",
    "float4": "encode(float8send({0}::float8), 'hex')",
    "float8": "encode(float8send({0}), 'hex')",
    "numeric": "trim_scale({0})::text",
    "bytea": "encode({0}, 'hex')",
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint::text",
    "date": "({0} - DATE '1970-01-01')::text",
    "interval": _INTERVAL,
    "array": _ELEMENTS,
}


def source_text(target: Target) -> sql.Composed:
    """Return the text of a column of the source, null where there is none."""
    if target.kind.name == "array" and plain_type(target.columnar) == "String":
        # A list that may be absent is kept as JSON.
        return sql.SQL("array_to_json({0})::text").format(sql.Identifier(target.name))
    return sql.SQL(_SOURCE.get(target.kind.name, "{0}::text")).format(sql.Identifier(target.name))


def mirror_text(target: Target) -> str:
    """Return the text of a column of the mirror, null where there is none."""
    name = quote_name(target.name)
    inner = plain_type(target.columnar)
    if inner == "Bool":
        return f"toString(toUInt8({name}))"
    if inner == "Float64":
        return f"lower(leftPad(hex(reinterpretAsUInt64({name})), 16, '0'))"
    if inner.startswith("DateTime64"):
        return f"toString(toUnixTimestamp64Micro({name}))"
    if inner == "Date32":
        return f"toString(toInt32({name}))"
    if inner.startswith("Array("):
        return f"arrayStringConcat(arrayMap(e -> concat(toString(length(toString(e))), ':', toString(e)), {name}))"
    if target.kind.name == "bytea":
        return f"lower(hex({name}))"
    return f"toString({name})"


def source_checksum(targets: Sequence[Target]) -> sql.Composed:
    """Return the checksum of some columns of a row of the source, as a whole number."""
    texts = sql.SQL(" || ").join(
        sql.SQL("coalesce(octet_length({0}) || ':' || {0}, '-')").format(source_text(target)) for target in targets
    )
    return sql.SQL("('x' || left(md5({}), 16))::bit(64)::bigint").format(texts)


def mirror_checksum(targets: Sequence[Target]) -> str:
    """Return the same of a row of the mirror."""
    texts = ", ".join(f"ifNull(concat(toString(length({mirror_text(one)})), ':', {mirror_text(one)}), '-')" for one in targets)
    return f"reinterpretAsInt64(reverse(substring(MD5(concat('', {texts})), 1, 8)))"


def source_key(targets: Sequence[Target]) -> sql.Composed:
    """Return the MD5 of a row's key in the source, by which rows of both sides find each other."""
    texts = sql.SQL(" || ").join(sql.SQL("octet_length({0}) || ':' || {0}").format(source_text(one)) for one in targets if one.key)
    return sql.SQL("md5({})").format(texts)


def mirror_key(targets: Sequence[Target]) -> str:
    """Return the same in the mirror."""
    texts = ", ".join(f"toString(length({mirror_text(one)})), ':', {mirror_text(one)}" for one in targets if one.key)
    return f"lower(hex(MD5(concat({texts}))))"
