"""Frames of other libraries as Arrow tables, whichever they are: what Arrow has no type for becomes text that says all of it, or is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from chainstrata.errors import UsageError
from chainstrata.ingest.python_rows import Misshapen, text_of

_WIDE: Final = ("Int128", "UInt128")
_HINT: Final = "Make it a column of one type that Arrow has, or of text."


def read_frame(source: Any) -> Any:
    """Return a frame as an Arrow table. Raises `UsageError` for a column whose values nobody can read exactly."""
    source = _without_wide_integers(source)
    try:
        table = pa.table(source)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        if not hasattr(source, "columns") or not hasattr(source, "reset_index"):
            raise UsageError(f"cannot read the frame: {_first_line(error)}", hint=_HINT) from error
        table = _read_pandas(source)
    index = [name for name in table.schema.names if name.startswith("__index_level_")]
    return table.drop_columns(index) if index else table


def _without_wide_integers(source: Any) -> Any:
    """Return a frame of polars with its whole numbers of 128 bits as text. Its objects would come as the addresses they lie at."""
    schema = getattr(source, "schema", None)
    if not isinstance(schema, Mapping):
        return source
    objects = [name for name, kind in schema.items() if str(kind) == "Object"]
    if objects:
        raise UsageError(f"column {objects[0]} holds Python objects", hint=_HINT)
    wide = {name: str for name, kind in schema.items() if str(kind) in _WIDE}
    return source.cast(wide) if wide else source


def _read_pandas(frame: Any) -> Any:
    """Return a frame of pandas column by column: one of mixed values, or of integers beyond 64 bits, as text."""
    named = [name for name in frame.index.names if name is not None]
    whole = frame.reset_index(level=named) if named else frame
    columns = {}
    for name in whole.columns:
        values = whole[name]
        try:
            columns[str(name)] = pa.array(values, from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            columns[str(name)] = _as_text(str(name), values.tolist(), values.isna().tolist())
    return pa.table(columns)


def _as_text(name: str, values: Sequence[Any], missing: Sequence[bool]) -> Any:
    try:
        return pa.array([None if absent else text_of(value) for value, absent in zip(values, missing, strict=True)], pa.string())
    except (Misshapen, ValueError) as error:
        raise UsageError(f"column {name} holds values of several kinds: {_first_line(error)}", hint=_HINT) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
