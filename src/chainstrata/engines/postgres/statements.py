"""What can be run, and how it becomes SQL text with parameters.

A statement is a named `Query`, a SQLAlchemy Core statement, or a `psycopg.sql` composition. Core statements compile once:
the same object is found by identity, an equal one by its structure, so only the first use pays. Values never become part of
the text, and every column type's own conversions run in both directions, so numbers and times stay exact.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, cast

import psycopg
from psycopg import sql
from psycopg.rows import AsyncRowFactory, namedtuple_row
from sqlalchemy import exc as sa_exc
from sqlalchemy.dialects.postgresql import psycopg as sa_psycopg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.types import TypeEngine

from chainstrata.engines.postgres.errors import StatementError
from chainstrata.engines.postgres.queries import Query

Statement: TypeAlias = Query | ClauseElement | sql.Composable | LiteralString
Params: TypeAlias = Mapping[str, Any] | Sequence[Any] | None
Processor: TypeAlias = Callable[[Any], Any]

# The compiler's and the types' only view of the server; it never connects.
DIALECT: Final = sa_psycopg.dialect(dbapi=psycopg)  # type: ignore[no-untyped-call]
_KEPT: Final = 1000


class Ready(NamedTuple):
    """A statement as the driver takes it. `rows` is set where columns have conversions of their own."""

    text: Any
    params: Params
    rows: "TypedRows | None"


class _Bind(NamedTuple):
    """A parameter: its name in the text, its key in the caller's mapping, its conversion."""

    name: str
    key: str
    process: Processor | None
    required: bool


class _Compiled(NamedTuple):
    compiler: SQLCompiler
    text: str
    processors: Mapping[str, Processor]
    rows: "TypedRows | None"


class _Known:
    """A statement object seen before."""

    __slots__ = ("_binds", "_compiled", "_extracted", "_own", "reference")

    def __init__(
        self, reference: "weakref.ref[ClauseElement]", compiled: _Compiled, extracted: Sequence[BindParameter[Any]] | None
    ) -> None:
        self.reference = reference
        self._compiled = compiled
        self._extracted = extracted
        compiler = compiled.compiler
        names = {one: compiler.escaped_bind_names.get(name, name) for one, name in compiler.bind_names.items()}
        self._binds = [_Bind(name, one.key, compiled.processors.get(name), one.required) for one, name in names.items()]
        # A value that a function gives is asked for at every use.
        computed = any(one.callable for one in (*names, *(extracted or ())))
        self._own = None if computed else self._own_values()

    def _own_values(self) -> Mapping[str, Any]:
        """Return what the statement itself says. An equal one was compiled: `extracted` are the values of this one, matched by place."""
        compiler = self._compiled.compiler
        return compiler.construct_params({one.key: None for one in compiler.bind_names if one.required}, self._extracted)

    def ready(self, params: Mapping[str, Any]) -> Ready:
        own = self._own_values() if self._own is None else self._own
        values: dict[str, Any] = {}
        expands = bool(self._compiled.compiler.post_compile_params)
        for name, key, process, required in self._binds:
            if key in params:
                value = params[key]
            elif required:
                raise StatementError(f"parameter {key!r} has no value", hint="Pass every parameter the statement names.")
            else:
                value = own[name]
            values[name] = value if expands or process is None else process(value)
        if expands:
            return self._expand(values)
        return Ready(self._compiled.text, values, self._compiled.rows)

    def _expand(self, values: Mapping[str, Any]) -> Ready:
        """Spell out the lists of IN: their lengths are part of the text, so it is another statement for each length."""
        state = self._compiled.compiler.construct_expanded_state(values)
        expanded = dict(state.parameters)
        for name, process in state.processors.items():
            if not isinstance(process, tuple) and name in expanded:
                expanded[name] = process(expanded[name])
        return Ready(state.statement, expanded, self._compiled.rows)


class StatementCache:
    """Compiled statements, by identity and by structure."""

    def __init__(self) -> None:
        self._by_identity: dict[tuple[int, tuple[str, ...]], _Known] = {}
        self._by_structure: dict[Any, _Compiled] = {}

    def __len__(self) -> int:
        return len(self._by_structure)

    def prepare(self, statement: Statement, params: Params = None) -> Ready:
        """Return the statement as the driver takes it; raise `StatementError` if it cannot be one."""
        if isinstance(statement, Query):
            return Ready(statement.sql, params, None)
        if isinstance(statement, ClauseElement):
            return self._prepare_core(statement, params)
        return Ready(statement, params, None)

    def _prepare_core(self, statement: ClauseElement, params: Params) -> Ready:
        if params is not None and not isinstance(params, Mapping):
            raise StatementError("a Core statement takes its parameters by name", hint="Pass a mapping of parameter names to values.")
        # An INSERT or UPDATE takes the names of its columns from the parameters, so they are part of what it is.
        columns = tuple(params) if params and isinstance(statement, UpdateBase) else ()
        key = (id(statement), columns)
        known = self._by_identity.get(key)
        if known is None or known.reference() is not statement:
            known = self._learn(statement, columns, key)
        return known.ready(params or {})

    def _learn(self, statement: ClauseElement, columns: tuple[str, ...], key: tuple[int, tuple[str, ...]]) -> _Known:
        # The key SQLAlchemy's own engine caches by; there is no public name for it, and its documentation speaks of this one.
        structure = statement._generate_cache_key()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        compiled = None if structure is None else self._by_structure.get((structure.key, columns))
        if compiled is None:
            compiled = compile_core(statement, columns, structure)
            if structure is not None:
                _keep(self._by_structure, (structure.key, columns), compiled)
        identity = self._by_identity
        reference = weakref.ref(statement, lambda _: identity.pop(key, None))
        known = _Known(reference, compiled, None if structure is None else structure.bindparams)
        _keep(identity, key, known)
        return known


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    while len(cache) >= _KEPT:
        cache.pop(next(iter(cache)))
    cache[key] = value


# On a line of its own, because a query may end with a comment.
_AT_MOST: Final = sql.SQL("SELECT * FROM ({}\n) AS answer LIMIT {}")


def at_most(text: Any, rows: int) -> Any:
    """Return the text of a query that gives the first so many rows of another."""
    if isinstance(text, sql.Composable):
        return _AT_MOST.format(text, sql.Literal(rows))
    return _text_at_most(text, rows)


@lru_cache(_KEPT)
def _text_at_most(text: str, rows: int) -> str:
    own = sql.SQL(cast(LiteralString, text))  # type: ignore[redundant-cast]  # mypy takes them for one
    return _AT_MOST.format(own, sql.Literal(rows)).as_string(None)


def compile_core(statement: ClauseElement, columns: tuple[str, ...] = (), structure: Any = None) -> _Compiled:
    """Compile a Core statement for the driver."""
    names = list(columns) if columns else None
    try:
        compiler = DIALECT.statement_compiler(DIALECT, statement, cache_key=structure, column_keys=names)
    except sa_exc.CompileError as error:
        raise StatementError(f"statement does not compile: {error}") from error
    if compiler.insert_prefetch or compiler.update_prefetch:
        column = next(iter((*compiler.insert_prefetch, *compiler.update_prefetch)))
        raise StatementError(f"column {column} has a default made in Python", hint="Use server_default; Python-side defaults are not run.")
    return _Compiled(compiler, str(compiler), _bind_processors(compiler), _typed_rows(statement))


def _bind_processors(compiler: SQLCompiler) -> dict[str, Processor]:
    found: dict[str, Processor] = {}
    for parameter, name in compiler.bind_names.items():
        process = parameter.type.dialect_impl(DIALECT).bind_processor(DIALECT)
        if process is not None:
            found[compiler.escaped_bind_names.get(name, name)] = process
    return found


def _typed_rows(statement: ClauseElement) -> "TypedRows | None":
    columns = getattr(statement, "exported_columns", None)
    if columns is None:
        return None
    types: list[TypeEngine[Any]] = [column.type.dialect_impl(DIALECT) for column in columns]
    if all(type(kind).result_processor is TypeEngine.result_processor for kind in types):
        return None
    return TypedRows(types)


class TypedRows:
    """A row factory that runs the column types' own conversions, then makes the row."""

    def __init__(self, types: Sequence[TypeEngine[Any]], make: AsyncRowFactory[Any] = namedtuple_row) -> None:
        self._types = types
        self._make = make
        # Which conversion a type wants may hang on what the server sends, so they are looked up with the result at hand.
        self._processors: dict[tuple[int, ...], list[Processor | None] | None] = {}

    def using(self, make: AsyncRowFactory[Any]) -> "TypedRows":
        return TypedRows(self._types, make)

    def __call__(self, cursor: psycopg.AsyncCursor[Any]) -> Callable[[Sequence[Any]], Any]:
        make = self._make(cursor)
        result = cursor.pgresult
        if result is None:
            return make
        codes = tuple(map(result.ftype, range(result.nfields)))
        if codes not in self._processors:
            self._processors[codes] = self._look_up(codes)
        processors = self._processors[codes]
        if processors is None:
            return make
        return lambda values: make([process(value) if process else value for process, value in zip(processors, values, strict=True)])

    def _look_up(self, codes: tuple[int, ...]) -> list[Processor | None] | None:
        if len(codes) != len(self._types):
            raise StatementError(
                f"the result has {len(codes)} columns, the statement declares {len(self._types)}",
                hint="Name raw text in a select with literal_column(), so that its type is known.",
            )
        found: list[Processor | None] = [kind.result_processor(DIALECT, code) for kind, code in zip(self._types, codes, strict=True)]
        return found if any(found) else None
