"""What a mirror is to be given for the changes of a relation. Pure: bytes in, Arrow out.

Of several changes of one row in a batch only the last counts; which one that is follows from the order alone. A row that moves to
another key is gone under the old one. A value that the column of the mirror cannot hold exactly is refused, row by row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from chainstrata.cdc.model import Changes
from chainstrata.cdc.tuples import Decoded, decode
from chainstrata.cdc.values import UnknownType
from chainstrata.engines.clickhouse.arrow import arrow_type, plain_type
from chainstrata.engines.postgres.arrow import numeric
from chainstrata.engines.postgres.arrow.columns import pc
from chainstrata.engines.postgres.arrow.decode import Array, Column, Field, spans
from chainstrata.engines.postgres.arrow.kinds import Kind, convert

# What the engine keeps of times and days, as microseconds and days from 1970.
_FIRST_YEAR, _LAST_YEAR = "1900-01-01", "2299-12-31"
FIRST_DAY, LAST_DAY = (int(np.datetime64(day, "D").astype(np.int64)) for day in (_FIRST_YEAR, _LAST_YEAR))
_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """A column of a mirror: its type there, where it is in the relation, and what its values are."""

    name: str
    columnar: str
    place: int
    kind: Kind
    key: bool = False

    @property
    def nullable(self) -> bool:
        return "Nullable(" in self.columnar


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the mirror cannot take: its number among all rows, its version, and itself as texts."""

    row: int
    lsn: int
    problem: str
    content: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Missing:
    """Values that were not sent because they did not change: by column, the rows that lack it.

    `bases` has the key's columns, for every row: the key under which the row was before this batch.
    """

    rows: Mapping[str, Array]
    bases: Any

    def columns(self) -> dict[int, tuple[str, ...]]:
        """Return the columns each row lacks."""
        found: dict[int, list[str]] = {}
        for name, numbers in self.rows.items():
            for number in numbers:
                found.setdefault(int(number), []).append(name)
        return {number: tuple(names) for number, names in found.items()}


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows for a mirror, with `_version` and `_deleted`, and what had to be left out."""

    rows: Any
    refused: tuple[Refused, ...] = ()
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which changes count: `rows` numbers into new or old rows, by `gone`, and the version of each."""

    new: Array
    new_versions: Array
    old: Array
    old_versions: Array
    before: Array
    """For every new row the new row it replaced in this batch, -1 if it replaced none."""


def shape(changes: Changes, targets: Sequence[Target], *, version: str, deleted: str) -> Shaped:
    """Return the rows of a mirror for changes in order. Truncates must not be among them."""
    decoded = decode(changes)
    versions = changes.commit_lsns
    keys = [target for target in targets if target.key]
    chosen = choose(decoded, keys, versions)
    columns: dict[str, Any] = {}
    unfit: list[tuple[int, str]] = []
    missing: dict[str, Array] = {}
    for target in targets:
        field = decoded.new.columns[target.place]
        unchanged = decoded.new.unchanged[target.place]
        source, lacking = _sources(unchanged, chosen)
        fresh = to_columnar(field, target)
        # Most batches are rows that were inserted, of which each counts: nothing is to be picked.
        every = len(source) == len(field.at) and not unchanged.any()
        values = fresh.values if every else fresh.values.take(pa.array(source))
        if fresh.unfit is not None:
            unfit += [(int(row), f"{target.name}: {fresh.problem}") for row in np.flatnonzero(fresh.unfit[source])]
        if lacking.any():
            missing[target.name] = np.flatnonzero(lacking)
        columns[target.name] = _with_gone(values, target, decoded, chosen)
    columns[version] = pa.array(np.concatenate([chosen.new_versions, chosen.old_versions]), pa.uint64())
    gone = np.zeros(len(chosen.new) + len(chosen.old), dtype=np.uint8)
    gone[len(chosen.new) :] = 1
    columns[deleted] = pa.array(gone)
    refused = []
    for row, problem in dict(unfit).items():
        content = {target.name: show(decoded.new.columns[target.place], int(chosen.new[row]), target.kind) for target in targets}
        refused.append(Refused(row, int(chosen.new_versions[row]), problem, content))
    unsent = Missing(missing, _bases(decoded, keys, chosen)) if missing else None
    return Shaped(pa.table(columns), tuple(refused), unsent)


def shape_copied(fields: Sequence[Field], targets: Sequence[Target], lsn: int, *, version: str, deleted: str) -> Shaped:
    """Return the rows of a mirror for rows that were copied as of a position. The fields are in the order of the targets."""
    columns: dict[str, Any] = {}
    unfit: dict[int, str] = {}
    count = len(fields[0].at)
    for field, target in zip(fields, targets, strict=True):
        made = to_columnar(field, target)
        columns[target.name] = made.values
        if made.unfit is not None:
            unfit |= {int(row): f"{target.name}: {made.problem}" for row in np.flatnonzero(made.unfit)}
    columns[version] = pa.array(np.full(count, lsn, dtype=np.uint64))
    columns[deleted] = pa.array(np.zeros(count, dtype=np.uint8))
    refused = [
        Refused(row, lsn, problem, {target.name: show(field, row, target.kind) for field, target in zip(fields, targets, strict=True)})
        for row, problem in unfit.items()
    ]
    return Shaped(pa.table(columns), tuple(refused))


def choose(decoded: Decoded, keys: Sequence[Target], versions: Array) -> Chosen:
    """Return the last change of each row. A batch of nothing but inserts has every row once."""
    nothing = np.zeros(0, dtype=np.int64)
    new_at, old_at = decoded.new.at, decoded.old.at
    if not len(old_at) and (decoded.operation == b"I"[0]).all():
        every = np.arange(len(new_at))
        return Chosen(every, versions[new_at], nothing, nothing.astype(np.uint64), np.full(len(every), -1))
    codes = _codes(
        [[_identity(side.columns[key.place], key) for side in (decoded.old, decoded.new)] for key in keys], len(old_at), len(new_at)
    )
    # A change first takes the row away from where it was, then puts it where it is.
    moments = np.concatenate([2 * old_at, 2 * new_at + 1])
    order = np.lexsort((moments, codes))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = codes[order][1:] != codes[order][:-1]
    final = np.sort(order[last])
    old = final[final < len(old_at)]
    new = final[final >= len(old_at)] - len(old_at)
    before = _before(decoded, codes)
    return Chosen(new, versions[new_at[new]], old, versions[old_at[old]], before)


def _identity(field: Field, key: Target) -> Any:
    """Return what tells values of a key's column apart: their bytes, but 1.0 and 1.00 are one number."""
    loose = key.kind.name == "numeric" and key.kind.scale is None
    return to_columnar(field, key).values if loose else field.contents()


def _codes(columns: Sequence[Sequence[Any]], old: int, new: int) -> Array:
    """Return a number for each key, the same for the same key, of all old rows and then all new ones."""
    code = np.zeros(old + new, dtype=np.int64)
    for sides in columns:
        both = pa.chunked_array(sides).combine_chunks()
        part = both.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, code = np.unique(code * (int(part.max(initial=0)) + 1) + part, return_inverse=True)
    return code


def _before(decoded: Decoded, codes: Array) -> Array:
    """Return for each new row the new row that it replaced, -1 where that is not in the batch."""
    old, new = len(decoded.old.at), len(decoded.new.at)
    found = np.full(new, -1, dtype=np.int64)
    if not any(one.any() for one in decoded.new.unchanged):
        return found
    # What stood under a key just before each event, in the order of events by key.
    last: dict[int, int] = {}
    at_old = {int(at): place for place, at in enumerate(decoded.old.at)}
    events = sorted(range(old, old + new), key=lambda event: int(decoded.new.at[event - old]))
    for event in events:
        row = event - old
        number = int(decoded.new.at[row])
        source = codes[at_old[number]] if number in at_old else codes[event]
        if decoded.operation[number] == b"U"[0]:
            found[row] = last.get(int(source), -1)
        if number in at_old:
            last.pop(int(source), None)
        last[int(codes[event])] = row
    return found


def _sources(unchanged: Array, chosen: Chosen) -> tuple[Array, Array]:
    """Return for each chosen row the row that has the value, and which have none in this batch."""
    source = chosen.new.copy()
    lacking = unchanged[source]
    for place in np.flatnonzero(lacking):
        row = int(source[place])
        while row >= 0 and unchanged[row]:
            row = int(chosen.before[row])
        if row >= 0:
            source[place] = row
            lacking[place] = False
    return source, lacking


def _bases(decoded: Decoded, keys: Sequence[Target], chosen: Chosen) -> Any:
    """Return for each chosen row the key it had before the batch."""
    old = {int(at): place for place, at in enumerate(decoded.old.at)}
    places = []
    for row in map(int, chosen.new):
        while chosen.before[row] >= 0:
            row = int(chosen.before[row])  # noqa: PLW2901  # followed back to its beginning
        number = int(decoded.new.at[row])
        places.append(len(decoded.new.at) + old[number] if number in old else row)
    columns = {}
    for key in keys:
        both = [to_columnar(side.columns[key.place], key).values for side in (decoded.new, decoded.old)]
        columns[key.name] = pa.chunked_array(both).combine_chunks().take(pa.array(places))
    return pa.table(columns)


def _with_gone(values: Any, target: Target, decoded: Decoded, chosen: Chosen) -> Any:
    """Return the column with what stands for rows that are gone: their key, and nothing else."""
    if not len(chosen.old):
        return values
    if target.key:
        gone = to_columnar(decoded.old.columns[target.place], target).values.take(pa.array(chosen.old))
    else:
        gone = nothing(target, len(chosen.old))
    return pa.chunked_array([values, gone.cast(values.type)]).combine_chunks()


def nothing(target: Target, count: int) -> Any:
    """Return what stands in a column of a row that is gone."""
    kind = arrow_type(target.columnar)
    if target.nullable:
        return pa.nulls(count, kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([bytes(kind.byte_width)] * count, kind)
    if pa.types.is_list(kind):
        return pa.array([[]] * count, kind)
    if pa.types.is_string(kind):
        return pa.array([""] * count, kind)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(0)] * count, kind)
    return pa.array([0] * count).cast(pa.int32() if pa.types.is_date(kind) else pa.int64()).cast(kind)


def to_columnar(field: Field, target: Target) -> Column:
    """Return a column as the mirror takes it."""
    inner = plain_type(target.columnar)
    kind = arrow_type(target.columnar)
    if target.kind.name == "numeric":
        return _number(field, inner, target)
    if target.kind.name == "interval":
        return _intervals(field)
    made = convert(field, target.kind)
    if inner == "String" and target.kind.name == "array":
        return Column(pa.array([None if value is None else _listed(value) for value in made.values.to_pylist()], pa.string()))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _within(made, kind)
    if pa.types.is_list(kind) and "Nullable(" not in inner:
        made = _without_holes(made)
    if made.values.type.equals(kind):
        return made
    if pa.types.is_binary(made.values.type):
        # Bytes that are no text: the engine's strings are bytes, and only Arrow tells the two apart.
        return made
    try:
        return Column(made.values.cast(kind), made.unfit, made.problem)
    except pa.ArrowInvalid as error:
        raise UnknownType(f"type {target.kind} for a column of {target.columnar}: {error}") from error


def _number(field: Field, inner: str, target: Target) -> Column:
    kind = arrow_type(inner)
    if inner == "String":
        return numeric.text(field)
    if pa.types.is_decimal(kind):
        return numeric.decimal(kind)(field)
    if inner in ("UInt64", "UInt256"):
        return numeric.whole(kind)(field)
    raise UnknownType(f"type {target.kind} for a column of {target.columnar}")


def _without_holes(made: Column) -> Column:
    """Refuse lists of which an element is absent: the engine would put an empty one in its place."""
    if not made.values.flatten().null_count:
        return made
    holes = np.zeros(len(made.values), dtype=bool)
    absent = made.values.flatten().is_null().to_numpy(zero_copy_only=False)
    holes[pc.list_parent_indices(made.values).to_numpy()[absent]] = True
    unfit = holes if made.unfit is None else holes | made.unfit
    return Column(made.values, unfit, made.problem or "a list with an element that is absent")


def _within(made: Column, kind: Any) -> Column:
    """Refuse times the engine does not keep: it would turn them into others."""
    day = pa.types.is_date(kind)
    ticks = pc.fill_null(made.values.cast(pa.int32() if day else pa.int64()), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    first, end = (FIRST_DAY, LAST_DAY + 1) if day else (FIRST_DAY * _DAY, (LAST_DAY + 1) * _DAY)
    outside = (ticks < first) | (ticks >= end)
    unfit = outside if made.unfit is None else outside | made.unfit
    values = made.values
    if outside.any():
        values = pc.if_else(pa.array(outside), pa.scalar(None, values.type), values)
    if pa.types.is_timestamp(kind) and made.values.type.tz is None:
        values = values.cast(pa.int64()).cast(kind)
    return Column(values, unfit if unfit.any() else None, made.problem or f"outside {_FIRST_YEAR} to {_LAST_YEAR}")


def _intervals(field: Field) -> Column:
    """Return spans of time as ISO 8601 writes them, months, days and seconds apart: none can be turned into another."""
    parts = zip(*(part.tolist() for part in spans(field)), strict=True)
    texts = [_interval(*one) for one in parts]
    return Column(pa.array(texts, pa.string(), mask=field.null))


def _interval(microseconds: int, days: int, months: int) -> str:
    whole, rest = divmod(abs(microseconds), 1_000_000)
    seconds = f"{'-' if microseconds < 0 else ''}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")
    return f"P{months}M{days}DT{seconds}S"


def _listed(values: Sequence[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, default=str, separators=(",", ":"))


def show(field: Field, row: int, kind: Kind) -> str | None:
    """Return one value as a person reads it, also one that no column holds."""
    one = field.take(np.array([row]))
    raw = one.value(0)
    if raw is None:
        return None
    if kind.name == "numeric":
        return str(numeric.text(one).values[0])
    if kind.name == "interval":
        return str(_intervals(one).values[0])
    if kind.name in ("timestamptz", "timestamp", "date"):
        number = int.from_bytes(raw, signed=True)
        ends = {2 ** (8 * len(raw) - 1) - 1: "infinity", -(2 ** (8 * len(raw) - 1)): "-infinity"}
        if number in ends:
            return ends[number]
    value = convert(one, kind).values[0]
    if kind.name == "uuid":
        return str(UUID(bytes=value.as_py()))
    if kind.name == "bytea":
        return "\\x" + raw.hex()
    return str(value.as_py()) if kind.name != "bool" else str(value.as_py()).lower()
