"""Reads rows of any dataset: pages of JSON, streams of JSON lines."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, cast

from chainstrata.engines.postgres import Database, Params
from chainstrata.engines.postgres.arrow import Batches, open_arrow
from chainstrata.engines.postgres.copying import copying
from chainstrata.model import Catalog, Dataset, Interval
from chainstrata.model.latest import SEEN_AT
from chainstrata.packs.repository import Filling
from chainstrata.query import statements
from chainstrata.query.errors import NoEntity
from chainstrata.query.model import Order, Page, Wanted
from chainstrata.query.planner import check, check_filling, chosen_columns, read_cursor, write_cursor
from chainstrata.query.statements import FINAL, as_lines, as_page, literal, parameter, sent

_KEPT: Final = 2000


class Reader:
    """Reads the datasets of a catalog."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        self._built: dict[tuple[Any, ...], LiteralString] = {}

    async def rows(self, name: str, wanted: Wanted) -> Page:
        """Return a page of rows in the order of the key."""
        dataset = self._catalog.dataset(name)
        check(dataset, wanted)
        return await self._page(dataset, dataset.key, wanted, "rows")

    async def latest(self, name: str, wanted: Wanted) -> Page:
        """Return a page of the last row of each entity, in the order of entities. Raises `NoEntity`.

        Of a dataset stored change-only each has `seen_at`, when the entity was last seen, with or without a change.
        """
        dataset = self._catalog.dataset(name)
        check(dataset, wanted)
        if not dataset.entity:
            raise NoEntity(name)
        return await self._page(dataset, tuple(dataset.entity), wanted, "latest")

    async def filled(self, name: str, wanted: Wanted, every: Interval, means: Sequence[str] = ()) -> Page:
        """Return, for each entity that the filters name and each bucket, the row that held at its end, and means over the bucket.

        `filled` says that the bucket has no row of its own. Raises `CannotFill`, `EntityNeeded` or `TooManyBuckets`.
        """
        dataset = self._catalog.dataset(name)
        filling = Filling(dataset, every, tuple(means))
        check_filling(filling, wanted)
        columns = chosen_columns(name, dataset.table, dataset.key, wanted.columns)
        end = wanted.end or datetime.now(UTC)
        values = filling.span(wanted.start or every.before(end), end, wanted.as_of)
        given = {f"is_{column}": list(texts) for column, texts in wanted.filters.items()}
        row = await self._database.fetch_one(statements.filled(filling, columns), {**values, **given})
        return Page(row.body.split("\n") if row.body else [], None, row.every)

    @asynccontextmanager
    async def lines(self, name: str, wanted: Wanted) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield all rows in the order of the key as lines of JSON, whole lines at a time, as fast as the server sends them."""
        dataset = self._catalog.dataset(name)
        check(dataset, wanted)
        columns = chosen_columns(name, dataset.table, dataset.key, wanted.columns)
        after = read_cursor(wanted.cursor, name, wanted.order, dataset.key) if wanted.cursor else []
        statement = sent(as_lines(columns, statements.rows(dataset, columns, wanted, after, literal)))
        async with self._database.connection() as connection, copying(connection, statement) as blocks:
            yield blocks

    @asynccontextmanager
    async def lines_of(self, query: LiteralString, params: Params) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield what a query for lines of JSON gives, as `lines` does."""
        async with self._database.connection() as connection, copying(connection, sent(connection.render(query, params))) as blocks:
            yield blocks

    def arrow_of(self, query: LiteralString, params: Params) -> AbstractAsyncContextManager[Batches]:
        """Give what a query gives as Arrow batches, as `arrow` does."""
        return open_arrow(self._database, query, params)

    @asynccontextmanager
    async def arrow(self, name: str, wanted: Wanted) -> AsyncIterator[Batches]:
        """Yield all rows in the order of the key as Arrow batches. NUMERIC without a precision is text, as the server prints it."""
        dataset = self._catalog.dataset(name)
        check(dataset, wanted)
        columns = chosen_columns(name, dataset.table, dataset.key, wanted.columns)
        after = read_cursor(wanted.cursor, name, wanted.order, dataset.key) if wanted.cursor else []
        statement = statements.rows(dataset, columns, wanted, after, literal, plain=True)
        async with open_arrow(self._database, statement) as batches:
            yield batches

    async def _page(self, dataset: Dataset, key: Sequence[str], wanted: Wanted, what: str) -> Page:
        name = dataset.full_name
        order = wanted.order if what == "rows" else Order.ASC
        columns = chosen_columns(name, dataset.table, (*key, *dataset.key), wanted.columns)
        after = read_cursor(wanted.cursor, name, order, key) if wanted.cursor else []
        # One more than wanted tells whether there is another page.
        asked = replace(wanted, limit=wanted.limit + 1)
        text = self._statement(dataset, columns, asked, after, what)
        values = statements.values_of(dataset, asked, after, latest=what == "latest")
        row = await self._database.fetch_one(text, values)
        return make_page(row.body, wanted.limit, lambda last: write_cursor(name, order, key, last), final=row.every)

    def _statement(self, dataset: Dataset, columns: Sequence[str], wanted: Wanted, after: Sequence[str], what: str) -> LiteralString:
        """Return the statement for a question of this shape, put together the first time."""
        signature = statements.signature(dataset, columns, wanted, after, what)
        text = self._built.get(signature)
        if text is None:
            inner = _BUILD[what](dataset, columns, wanted, after, parameter)
            # Names are quoted, values are parameters: it is as good as one written down.
            shown = (*columns, SEEN_AT) if what == "latest" and dataset.change_only else columns
            page = as_page(shown, inner, said=FINAL if dataset.final else "")
            text = cast(LiteralString, page.as_string(None))  # type: ignore[redundant-cast]  # mypy takes them for one
            if len(self._built) >= _KEPT:
                self._built.pop(next(iter(self._built)))
            self._built[signature] = text
        return text


_BUILD: Final = {"rows": statements.rows, "latest": statements.latest}


def make_page(
    body: str | None,
    limit: int,
    cursor: Callable[[dict[str, Any]], str],
    *,
    final: bool | None = None,
    open: bool | None = None,  # noqa: A002
) -> Page:
    """Return a page from lines of JSON, one more than wanted if there are more."""
    rows = body.split("\n") if body else []
    if len(rows) <= limit:
        return Page(rows, None, final, open)
    return Page(rows[:limit], cursor(json.loads(rows[limit - 1])), final, open)
