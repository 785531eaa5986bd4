"""Which kind each column of an answer is, what the server must send as text, and the decimal that free numbers fit in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as _compute
from psycopg.postgres import types

from chainstrata.engines.postgres.arrow import decode, kinds
from chainstrata.engines.postgres.arrow.decode import Field
from chainstrata.engines.postgres.arrow.errors import Unrepresentable
from chainstrata.engines.postgres.arrow.kinds import WIDEST, Kind, arrow_type, convert, numeric_kind
from chainstrata.engines.postgres.arrow.numeric import decimal_type

# Its functions are made when it is imported, so no checker knows them.
pc: Any = _compute
_NARROW: Final = 38
_TEXT: Final = Kind("text")
_LISTED: Final = frozenset({"bool", "int2", "int4", "int8", "text", "varchar", "float8", "timestamp", "timestamptz"})
"""Arrays of these are read as such. Others come as the server's text."""
Decimals = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Described:
    """A column as the server describes it. A domain is described as its base type. `label` says that values are words of an enum."""

    name: str
    oid: int
    modifier: int
    label: bool = False


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the answer: its Arrow field, and what its values are. `cast` says that the server sends its text."""

    field: Any
    kind: Kind
    cast: bool = False

    def read(self, values: Field) -> Any:
        """Return its values; raise `Unrepresentable` if Arrow does not hold one."""
        made = decode.uuid_text(values) if self.kind.name == "uuid" else convert(values, self.kind)
        if made.unfit is not None:
            raise Unrepresentable(self.field.name, f"holds {made.problem}")
        return made.values


def resolve(described: Sequence[Described], decimals: Decimals) -> list[ResultColumn]:
    """Return what each column becomes. `decimals` gives precision and scale for columns of NUMERIC that declare none."""
    return [_resolve(one, decimals) for one in described]


def _resolve(one: Described, decimals: Decimals) -> ResultColumn:
    known = types.get(one.oid)
    name = "enum" if one.label else known.name if known else ""
    if name == "numeric":
        wanted = decimals.get(one.name)
        kind = Kind("numeric", *wanted) if wanted else numeric_kind(one.modifier)
        if kind.bounded:
            return ResultColumn(pa.field(one.name, arrow_type(kind)), kind)
        return ResultColumn(pa.field(one.name, pa.string(), metadata={"postgres": "numeric"}), _TEXT, cast=True)
    if known is not None and known.array_oid == one.oid:
        kind = Kind("array", element=Kind(name)) if name in _LISTED else _TEXT
    else:
        kind = Kind(name) if name in kinds.NAMES else _TEXT
    exact = pa.string() if kind.name == "uuid" else arrow_type(kind)
    return ResultColumn(pa.field(one.name, exact), kind, cast=kind is _TEXT)


def is_free(field: Any) -> bool:
    """Whether a column is a NUMERIC that came as text because its declaration sets no precision."""
    return bool(field.metadata and field.metadata.get(b"postgres") == b"numeric")


def fit(values: Any) -> Any:
    """Return numbers that came as text as decimals that hold every one of them exactly; as they are where no decimal does."""
    if not len(values):
        return values
    whole, scale, plain = _measure_digits(values)
    if not plain or whole + scale > WIDEST:
        return values
    # The usual shape where it does, so that answers mostly agree in their types.
    usual = (_NARROW, 18) if whole <= _NARROW - 18 and scale <= 18 else (_NARROW if whole + scale <= _NARROW else WIDEST, scale)
    return values.cast(decimal_type(*usual))


def _measure_digits(values: Any) -> tuple[int, int, bool]:
    """Return the most digits before and after the point of numbers as text, and whether all of them are numbers."""
    known = values.drop_null()
    if pc.any(pc.match_substring_regex(known, "[nN]")).as_py():
        return 0, 0, False
    parts = pc.extract_regex(known, r"^-?(?P<whole>\d+)(?:\.(?P<part>\d+))?$")
    whole, part = (pc.max(pc.utf8_length(pc.struct_field(parts, index))).as_py() or 0 for index in (0, 1))
    return whole, part, True
