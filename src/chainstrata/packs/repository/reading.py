"""Reading one table: by key, by time, the newest of each entity, as of an instant, in buckets, page by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as pg

from chainstrata.engines.postgres import Connection
from chainstrata.errors import UsageError
from chainstrata.model import Interval, Rollup
from chainstrata.model.marking import floor_sql, identifier
from chainstrata.packs.repository import making, paging
from chainstrata.packs.repository.errors import RowNotFound
from chainstrata.packs.repository.paging import Page
from chainstrata.packs.repository.selection import Selection, Source, column_of, equal

Row = TypeVar("Row")
FUNCTIONS = {"avg", "count", "max", "min", "sum"}
_DIALECT: sa.Dialect = pg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


@dataclass(frozen=True, slots=True)
class Bucket:
    """A span of time of one key: when it starts, and what was asked of its rows."""

    start: datetime
    key: Mapping[str, Any]
    values: Mapping[str, Any]


class BucketReader(Protocol):
    """Reads a roll-up by full name, with everything that is not folded yet where `live`."""

    async def __call__(
        self,
        name: str,
        lo: datetime,
        hi: datetime,
        *,
        live: bool = True,
        keys: Mapping[str, Sequence[Any]] | None = None,
        limit: int | None = None,
    ) -> list[Any]: ...


class Readable(Generic[Row]):
    """One table to read. `time` says when a row is about, `entity` what; either may be empty."""

    def __init__(self, source: Source, table: sa.Table, row: type[Row], *, time: str = "", entity: Sequence[str] = ()) -> None:
        self.source = source
        self.table = table
        self.row = row
        self.time = time
        self.entity = tuple(entity)
        self.key = tuple(column.name for column in table.primary_key.columns)
        self._select = sa.select(table)

    @property
    def c(self) -> Any:
        """The table's columns, for conditions."""
        return self.table.c

    @property
    def rows(self) -> Selection[Row]:
        """All rows, to choose from."""
        return Selection(self.source, self.table, self.row, self._select)

    def where(self, *conditions: sa.ColumnElement[bool], **equals: Any) -> Selection[Row]:
        """Choose rows for which all of this holds."""
        return self.rows.where(*conditions, **equals)

    def between(self, since: datetime | None = None, until: datetime | None = None, **equals: Any) -> Selection[Row]:
        """Choose rows from `since` up to, not including, `until`, in order of time."""
        column = self._timed()
        found = self.where(*(self._span(column, since, until)), **equals)
        return found.order_by(column, *(self.table.c[name] for name in self.key if name != self.time))

    async def get(self, *key: Any) -> Row | None:
        """Return the row with this key, or None."""
        return await self.where(**self._keyed(key)).first()

    async def need(self, *key: Any) -> Row:
        """Return the row with this key; raise `RowNotFound`."""
        found = await self.get(*key)
        if found is None:
            raise RowNotFound(self.table.fullname, self._keyed(key))
        return found

    async def page(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
        **equals: Any,
    ) -> Page[Row]:
        """Return a page of rows in order of time, or of key where there is no time. `after` is the `next` of the page before."""
        order = self._ordering(equals)
        conditions = [*self._span(self._timed(), since, until)] if since or until else []
        if after is not None:
            edge = paging.decode(after, [_python(column) for column in order])
            place = sa.tuple_(*(sa.bindparam(None, value, type_=column.type) for column, value in zip(order, edge, strict=True)))
            conditions.append(sa.tuple_(*order) < place if newest_first else sa.tuple_(*order) > place)
        chosen = self.where(*conditions, **equals).order_by(*(column.desc() if newest_first else column.asc() for column in order))
        found = await chosen.limit(limit + 1).all()
        more = len(found) > limit
        del found[limit:]
        last = [getattr(found[-1], column.name) for column in order] if more and found else None
        return Page(found, paging.encode(last) if last else None)

    async def latest(self, *entities: Any, at: datetime | None = None) -> list[Row]:
        """Return the newest row of each entity, up to an instant; of all there are where none is named.

        An entity of several columns is a tuple. Never a scan of the series: each is one look into the key's index, and where none is
        named they are found by skipping through it from one to the next.
        """
        names, params = self._entity(), {"at": at}
        if self.time not in self.key:
            raise UsageError(f"{self.table.fullname} keeps one row of each, the current one", hint="Use `get` or `where`.")
        wanted = self._given(entities, params) if entities else self._skipped(names)
        same = sql.SQL(" AND ").join(sql.SQL("t.{0} = wanted.{0}").format(sql.Identifier(name)) for name in names)
        until = sql.SQL(" AND t.{} <= %(at)s").format(sql.Identifier(self.time)) if at else sql.SQL("")
        statement = sql.SQL(
            "WITH RECURSIVE {wanted} SELECT newest.* FROM wanted CROSS JOIN LATERAL"
            " (SELECT t.* FROM {table} AS t WHERE {same}{until} ORDER BY t.{time} DESC LIMIT 1) AS newest ORDER BY {order}"
        ).format(
            wanted=wanted,
            table=identifier(self.table),
            same=same,
            until=until,
            time=sql.Identifier(self.time),
            order=_names(names, "wanted"),
        )
        return await self.source.fetch_all(statement, params, row_factory=making.into(self.row))

    async def as_of(self, at: datetime, *entities: Any) -> list[Row]:
        """Return how each entity stood at an instant: its newest row up to then."""
        return await self.latest(*entities, at=at)

    async def aggregate(
        self,
        every: Interval,
        values: Mapping[str, tuple[str, str]],
        *,
        since: datetime,
        until: datetime,
        by: Sequence[str] = (),
        **equals: Any,
    ) -> list[Bucket]:
        """Return figures per bucket of time, from the rows themselves.

        `values` names each figure and says of which column which of avg, count, max, min, sum. Buckets start where those of roll-ups do,
        in UTC.
        """
        column = self._timed()
        wrong = {function for function, _ in values.values()} - FUNCTIONS
        if wrong:
            raise UsageError(f"unknown function {min(wrong)!r}", hint=f"Known: {', '.join(sorted(FUNCTIONS))}.")
        start = sa.literal_column(floor_sql(every, sql.Identifier(self.time)).as_string(), self.table.c[self.time].type)
        keys = [column_of(self.table, name) for name in by]
        figures = [getattr(sa.func, function)(column_of(self.table, of)).label(name) for name, (function, of) in values.items()]
        conditions = [*self._span(column, since, until), *(equal(self.table, name, value) for name, value in equals.items())]
        # By number: `bucket` may be the name of a column too.
        order = [sa.text(str(place + 1)) for place in range(len(keys) + 1)]
        statement = sa.select(*keys, start.label("bucket_start"), *figures).where(*conditions).group_by(*order).order_by(*order)
        found = await self.source.fetch_all(statement)
        edge = len(keys)
        return [Bucket(row[edge], dict(zip(by, row[:edge], strict=True)), dict(zip(values, row[edge + 1 :], strict=True))) for row in found]

    def _timed(self) -> sa.Column[Any]:
        if not self.time:
            raise UsageError(f"{self.table.fullname} has no time", hint="Use `where`, or `page` without a span of time.")
        return self.table.c[self.time]

    def _span(self, column: sa.Column[Any], since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
        return [*([column >= since] if since else []), *([column < until] if until else [])]

    def _keyed(self, key: Sequence[Any]) -> dict[str, Any]:
        if len(key) != len(self.key):
            raise UsageError(
                f"the key of {self.table.fullname} has {len(self.key)} parts, {len(key)} given", hint=f"Give {', '.join(self.key)}."
            )
        return dict(zip(self.key, key, strict=True))

    def _ordering(self, equals: Mapping[str, Any]) -> list[sa.Column[Any]]:
        """Return what pages are ordered by. What is the same in every row says nothing, and would hide the index from the planner."""
        timed = [self.time] if self.time and not self.table.c[self.time].nullable else []
        names = [*timed, *(name for name in self.key if name not in timed)]
        fixed = {
            name
            for name, value in equals.items()
            if value is not None and (isinstance(value, str | bytes) or not hasattr(value, "__iter__"))
        }
        kept = [name for name in names if name not in fixed] or list(self.key)
        return [self.table.c[name] for name in kept]

    def _entity(self) -> tuple[str, ...]:
        if not self.time or not self.entity:
            raise UsageError(f"{self.table.fullname} is no series of entities", hint="Use `where` or `page`.")
        return self.entity

    def _given(self, entities: Sequence[Any], params: dict[str, Any]) -> sql.Composed:
        """Return the relation `wanted` of the entities given, each once."""
        tuples = [one if isinstance(one, tuple) else (one,) for one in entities]
        if any(len(one) != len(self.entity) for one in tuples):
            raise UsageError(f"an entity of {self.table.fullname} is {', '.join(self.entity)}")
        lists = []
        for place, name in enumerate(self.entity):
            params[f"entity_{place}"] = [one[place] for one in tuples]
            kind = self.table.c[name].type.compile(dialect=_DIALECT)
            lists.append(sql.SQL("{}::{}[]").format(sql.Placeholder(f"entity_{place}"), sql.SQL(kind)))  # pyright: ignore[reportArgumentType]  # a declared type
        return sql.SQL("wanted AS (SELECT DISTINCT * FROM unnest({}) AS given ({}))").format(sql.SQL(", ").join(lists), _names(self.entity))

    def _skipped(self, names: Sequence[str]) -> sql.Composed:
        """Return the relation `wanted` of all entities there are: the first in the index, then the first after that, to the end."""
        return sql.SQL(
            "wanted AS ("
            "(SELECT {own} FROM {table} AS t ORDER BY {own} LIMIT 1)"
            " UNION ALL SELECT following.* FROM wanted CROSS JOIN LATERAL"
            " (SELECT {own} FROM {table} AS t WHERE ({own}) > ({last}) ORDER BY {own} LIMIT 1) AS following)"
        ).format(own=_names(names, "t"), last=_names(names, "wanted"), table=identifier(self.table))


class Buckets(Readable[Row]):
    """A roll-up to read, by the name it was declared with."""

    def __init__(self, source: Source, table: sa.Table, row: type[Row], *, name: str, rollup: Rollup, reader: BucketReader | None) -> None:
        super().__init__(source, table, row, time=rollup.bucket, entity=rollup.by)
        self.name = name
        self.rollup = rollup
        self._reader = reader

    def between(self, since: datetime | None = None, until: datetime | None = None, **equals: Any) -> Selection[Row]:
        """Choose the buckets from the one that holds `since` up to `until`, as they are kept."""
        return super().between(self.rollup.every.floor(since) if since else None, until, **equals)

    async def live(self, since: datetime, until: datetime, **keys: Sequence[Any]) -> list[Any]:
        """Return the buckets from `since` to `until` with everything that is not folded yet, at one snapshot of their own.

        `is_open` says that a bucket has not ended. In a caller's transaction use `between`, which reads them as they are kept.
        """
        if self._reader is None or isinstance(self.source, Connection):
            raise UsageError(
                f"{self.name} is read live in a transaction of its own", hint="Use `between` for the buckets as they are kept."
            )
        return await self._reader(self.name, since, until, live=True, keys=keys)


def _names(names: Sequence[str], relation: str = "") -> sql.Composed:
    own = [sql.Identifier(relation, name) if relation else sql.Identifier(name) for name in names]
    return sql.SQL(", ").join(own)


def _python(column: sa.Column[Any]) -> Any:
    try:
        return column.type.python_type
    except NotImplementedError:
        return int
