"""Keeps roll-ups true to their rows.

A refresh takes the marks of a source away and makes every bucket they name what the rows give, in one transaction. Whatever
is written meanwhile leaves marks of its own, so nothing is missed; what is read twice comes out the same. One refresh of a
source runs at a time; writers never wait for it, nor it for them.

Rows that left for good are remembered as *gone before* an instant. A bucket that ended before it is never folded again, only
merged into. A bucket across it is folded from the rows that are left and from what the others gave when they left.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, LiteralString, Protocol, cast

from psycopg import IsolationLevel, sql
from psycopg.rows import tuple_row

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.engines.postgres.errors import StatementFailed
from chainstrata.errors import UnknownName, UsageError
from chainstrata.model import Catalog, Late
from chainstrata.model.marking import identifier, most_keys
from chainstrata.rollups import holding, reading, statements
from chainstrata.rollups.fold import fold
from chainstrata.rollups.model import Difference, Level, Mark, Pairs, Range, Refreshed, Source, Status, Work
from chainstrata.rollups.planner import find_sources, plan

QUERIES = load_queries(__package__)
MARKS_AT_ONCE = 20_000
FEW_ROWS = 1000
"""Of more rows added at once, whole buckets are marked for the levels above."""
ALWAYS = "-infinity"
_SNAPSHOT = IsolationLevel.REPEATABLE_READ


class EnsurePartitions(Protocol):
    """Makes sure that the table of a roll-up, named in full, has partitions from `lo` to `hi`."""

    async def __call__(self, rollup: str, lo: datetime, hi: datetime) -> object: ...


Wrap = Callable[[sql.Composable], sql.Composable]
"""Makes another query of a query. Equal ones make equal queries."""
_READINGS_KEPT = 500


class Rollups:
    """The roll-ups of a catalog in one database."""

    def __init__(self, database: Database, catalog: Catalog, ensure: EnsurePartitions | None = None) -> None:
        self._database = database
        self._ensure = ensure
        self._readings: dict[tuple[object, ...], LiteralString] = {}
        self.sources = {source.name: source for source in find_sources(catalog)}
        self.levels = {level.name: (source, level) for source in self.sources.values() for level in source.children}

    # Refreshing ----------------------------------------------------------------------------------------------------

    async def refresh(self, names: Iterable[str] = (), *, wait: bool = True) -> Refreshed:
        """Bring roll-ups up to date, all or those of the named datasets and roll-ups, each after what it is folded from.

        Without `wait`, a source somebody else is refreshing is left to them.
        """
        done = Refreshed()
        chosen = self._chosen(names)
        marked = await self._find_marked(chosen)
        for source in chosen:
            while source.name in marked:
                step = await self._refresh_source(source, wait=wait)
                done += step
                # Also where somebody else took the marks meanwhile, and left some here.
                marked |= {level.name for level in source.children}
                if step.marks < MARKS_AT_ONCE:
                    break
        return done

    async def _find_marked(self, sources: Sequence[Source]) -> set[str]:
        """Return the names of the sources with marks: one question, since most turns find nothing to do."""
        if not sources:
            return set()
        return {row.source for row in await self._database.fetch_all(statements.marked(sources))}

    async def _refresh_source(self, source: Source, *, wait: bool) -> Refreshed:
        pending = await self._database.fetch_one(statements.pending(source))
        if not pending.marks:
            return Refreshed()
        span = await self._span(source, pending)
        if span is None:
            return await self._forget(source)
        await self._ensure_partitions(source, span)

        async def work(connection: Connection) -> Refreshed:
            query = QUERIES.lock_source_waiting if wait else QUERIES.lock_source
            if await connection.fetch_value(query, {"source": source.name}) is False:
                return Refreshed()
            await connection.execute(QUERIES.plan_anew)
            marks = await self._take_marks(connection, source, span)
            gone = await self._gone(connection, source)
            done = Refreshed(marks=len(marks))
            for level in source.children:
                done += await self._refresh_level(connection, source, level, marks, span, gone)
            return done

        return await self._database.run(work)

    async def _refresh_level(
        self, connection: Connection, source: Source, level: Level, marks: Sequence[Mark], span: Range, gone: Mapping[str, datetime]
    ) -> Refreshed:
        started = monotonic()
        carried = bool(await connection.fetch_value(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(identifier(level.carried))))
        written = removed = 0
        every, gone_before = level.rollup.every, gone.get(source.name)
        if carried and gone_before is not None:
            written += (await connection.fetch_one(statements.absorb(level), {"frozen": every.floor(gone_before)})).written
        [state] = await connection.fetch_all(QUERIES.list_states, {"rollups": [level.name]}) or [None]
        known = state.most_keys if state else None
        floors = [instant for instant in (gone_before and every.floor(gone_before), gone.get(level.name)) if instant]
        most: float | None = None
        for item in plan(source, level, marks, span=span, floor=max(floors, default=None), most_keys=known):
            result = await self._do(connection, source, level, item, gone_before, carried=carried)
            written += result.written
            removed += result.removed
            if isinstance(item, Pairs) and known is None and most is None:
                fullest = Counter(item.starts).most_common(1)[0][0]
                result = await connection.fetch_one(statements.weigh(level), {"lo": fullest})
                most = _most_keys(source, level, result)
            elif isinstance(item, Range):
                most = _most_keys(source, level, result) or most
        seconds = monotonic() - started
        record = {"rollup": level.name, "written": written, "removed": removed, "seconds": seconds, "most_keys": most}
        await connection.execute(QUERIES.record_refresh, record)
        return Refreshed(0, written, removed, seconds)

    async def _do(
        self, connection: Connection, source: Source, level: Level, item: Work, gone_before: datetime | None, *, carried: bool
    ) -> Any:
        floor = gone_before.isoformat() if gone_before else ALWAYS
        if isinstance(item, Range):
            statement = statements.refresh_range(source, level, carried=carried)
            return await connection.fetch_one(statement, {"lo": item.lo, "hi": item.hi, "gone_before": floor})
        statement = statements.refresh_pairs(source, level, carried=carried)
        params = _pairs(level, item)
        return await connection.fetch_one(
            statement, {**params, "first_lo": min(params["lo"]), "last_hi": max(params["hi"]), "gone_before": floor}
        )

    async def _take_marks(self, connection: Connection, source: Source, span: Range) -> list[Mark]:
        limits = {"lo": span.lo, "hi": span.hi, "most": MARKS_AT_ONCE}
        rows = await connection.fetch_all(statements.take_marks(source), limits, row_factory=tuple_row)
        return [Mark(tuple(row[:-2]), row[-2], row[-1]) for row in rows]

    async def _span(self, source: Source, pending: Any) -> Range | None:
        """Return what the marks cover; open ones cover all rows and buckets there are. None: nothing at all."""
        ends = [pending.lo, pending.hi]
        if pending.unbounded:
            for level in source.children:
                found = await self._database.fetch_one(statements.span(source, level))
                ends += [found.lo, found.hi and level.rollup.every.shift(level.rollup.every.floor(found.hi))]
        known = [end for end in ends if end is not None]
        return Range(min(known), max(known)) if known else None

    async def _forget(self, source: Source) -> Refreshed:
        """Drop open marks of a source that has neither rows nor buckets."""
        limits = {"lo": datetime.max.replace(tzinfo=UTC), "hi": datetime.min.replace(tzinfo=UTC), "most": MARKS_AT_ONCE}
        marks = await self._database.fetch_all(statements.take_marks(source), limits, row_factory=tuple_row)
        return Refreshed(marks=len(marks))

    async def _ensure_partitions(self, source: Source, span: Range) -> None:
        if self._ensure is None:
            return
        for level in source.children:
            every = level.rollup.every
            if level.rollup.lifecycle.partition:
                await self._ensure(level.name, every.floor(span.lo), every.shift(every.floor(span.hi)))

    async def _gone(self, connection: Connection | Database, source: Source) -> dict[str, datetime]:
        wanted = [source.name, *(level.name for level in source.children)]
        rows = await connection.fetch_all(QUERIES.list_gone, {"sources": wanted})
        return {row.source: row.gone_before for row in rows}

    def _chosen(self, names: Iterable[str]) -> list[Source]:
        wanted = list(names)
        if not wanted:
            return list(self.sources.values())
        chosen = set()
        for name in wanted:
            if name in self.levels:
                chosen |= {source.name for source, _ in self.path(name)}
            elif name in self.sources:
                chosen |= {key for key in self.sources if key == name or key.startswith(f"{name}.")}
            else:
                raise UnknownName("dataset or roll-up", name, [*self.sources, *self.levels])
        return [source for name, source in self.sources.items() if name in chosen]

    # Reading -------------------------------------------------------------------------------------------------------

    def path(self, name: str) -> list[tuple[Source, Level]]:
        """Return the way from the raw rows to a roll-up."""
        if name not in self.levels:
            raise UnknownName("roll-up", name, list(self.levels))
        source, level = self.levels[name]
        before = self.path(source.level.name) if source.level else []
        return [*before, (source, level)]

    async def read(
        self,
        name: str,
        lo: datetime,
        hi: datetime,
        *,
        live: bool = True,
        keys: Mapping[str, Sequence[Any]] | None = None,
        after: Sequence[Any] = (),
        limit: int | None = None,
        wrap: Wrap | None = None,
    ) -> list[Any]:
        """Return the buckets from `lo` to `hi`, both moved to the edges of buckets, in key order.

        `live` adds, at the same snapshot, everything that is not folded yet; else they come as they are kept. `is_open`
        says that a bucket has not ended; a mean over time is of the time until now then. `keys` limits key columns to values, given
        as such or as text. `limit` is how many at most, from the one after `after` on, which is a key and a bucket. `wrap` makes
        another query of the buckets' own.
        """
        query, params = self.query(name, lo, hi, live=live, keys=keys, after=after, limit=limit, wrap=wrap)
        if all(len(values) == 1 for values in (keys or {}).values()):
            return await self._database.fetch_all(query, params)

        async def read_anew(connection: Connection) -> list[Any]:
            await connection.execute(QUERIES.plan_anew)
            return await connection.fetch_all(query, params)

        return await self._database.run(read_anew)

    def query(
        self,
        name: str,
        lo: datetime,
        hi: datetime,
        *,
        live: bool = True,
        keys: Mapping[str, Sequence[Any]] | None = None,
        after: Sequence[Any] = (),
        limit: int | None = None,
        wrap: Wrap | None = None,
    ) -> tuple[LiteralString, dict[str, Any]]:
        """Return the query that `read` asks and its parameters, for who sends the answer on as it comes."""
        path = self.path(name)
        level = path[-1][1]
        wanted, params = reading.slice_of(level, keys or {}, after, limit)
        every = level.rollup.every
        edge = every.floor(hi)
        since = every.floor(lo)
        # What held where the first bucket begins comes from those before it.
        params |= {"lo": every.floor(since - timedelta(seconds=holding.reach(level))), "since": since}
        params["hi"] = edge if edge == hi else every.shift(edge)
        return self._reading(path, wanted, wrap, live=live), params

    def _reading(self, path: reading.Path, wanted: reading.Slice, wrap: Wrap | None, *, live: bool) -> LiteralString:
        """Return the query that reads a roll-up, put together the first time."""
        level = path[-1][1]
        known = (level.name, live, wanted, wrap)
        text = self._readings.get(known)
        if text is None:
            query: sql.Composable = reading.live(path, wanted) if live else reading.materialised(level, wanted)
            # Names are quoted, values are parameters: it is as good as one written down.
            text = cast(LiteralString, (wrap(query) if wrap else query).as_string(None))  # type: ignore[redundant-cast]  # mypy takes them for one
            if len(self._readings) >= _READINGS_KEPT:
                self._readings.pop(next(iter(self._readings)))
            self._readings[known] = text
        return text

    async def status(self, names: Iterable[str] = ()) -> list[Status]:
        """Return how far roll-ups are."""
        listed = []
        for source in self._chosen(names):
            pending = await self._database.fetch_one(statements.pending(source))
            gone = await self._gone(self._database, source)
            states = await self._database.fetch_all(QUERIES.list_states, {"rollups": [level.name for level in source.children]})
            known = {row.rollup: row for row in states}
            for level in source.children:
                state = known.get(level.name)
                listed.append(
                    Status(
                        level.name,
                        level.table.fullname,
                        str(level.rollup.every),
                        pending.marks,
                        pending.oldest,
                        state.refreshed_at if state else None,
                        state.refreshed_lsn if state else None,
                        state.seconds if state else None,
                        gone.get(source.name),
                    )
                )
        return listed

    # Checking and making again -------------------------------------------------------------------------------------

    async def verify(
        self, names: Iterable[str] = (), *, lo: datetime | None = None, hi: datetime | None = None, most: int = 1000
    ) -> list[Difference]:
        """Return every bucket that is not what its rows give, where the rows are still there. Refreshes first."""
        await self.refresh(names)
        found: list[Difference] = []
        for source in self._chosen(names):
            for level in source.children:
                found += await self._verify_level(source, level, lo, hi, most)
        return found

    async def _verify_level(self, source: Source, level: Level, lo: datetime | None, hi: datetime | None, most: int) -> list[Difference]:
        every = level.rollup.every

        async def work(connection: Connection) -> list[Difference]:
            extent = await connection.fetch_one(statements.span(source, level))
            if extent.lo is None:
                return []
            gone = await self._gone(connection, source)
            edges = [
                every.floor(lo or extent.lo),
                *(every.floor(g) for g in (gone.get(source.name),) if g),
                *filter(None, (gone.get(level.name),)),
            ]
            end = every.shift(every.floor(hi or extent.hi))
            floor = gone[source.name].isoformat() if source.name in gone else ALWAYS
            params = {"lo": max(edges), "hi": end, "gone_before": floor, "most": most}
            rows = await connection.fetch_all(reading.compare(source, level), params, row_factory=tuple_row)
            width = len(level.rollup.by)
            return [_difference(level, row, width) for row in rows]

        return await self._database.run(work, isolation=_SNAPSHOT)

    async def rebuild(
        self, name: str, *, lo: datetime | None = None, hi: datetime | None = None, progress: Callable[[float], None] | None = None
    ) -> Refreshed:
        """Make the buckets of a dataset or roll-up again from the rows that are there, a slice at a time."""
        done = Refreshed()
        for source in self._chosen([name]):
            if name in self.levels and self.levels[name][0] is not source:
                continue
            done += await self._rebuild_source(source, lo, hi, progress)
        return done

    async def _rebuild_source(
        self, source: Source, lo: datetime | None, hi: datetime | None, progress: Callable[[float], None] | None
    ) -> Refreshed:
        extents = [await self._database.fetch_one(statements.span(source, level)) for level in source.children]
        starts = [extent.lo for extent in extents if extent.lo]
        if not starts:
            return Refreshed()
        widest = max((level.rollup.every for level in source.children), key=lambda every: every.mean_length)
        start = widest.floor(lo or min(starts))
        end = widest.shift(widest.floor(hi or max(extent.hi for extent in extents)))
        step = max(widest.longest, timedelta(days=1))
        done, at = Refreshed(), start
        while at < end:
            upto = min(end, widest.shift(widest.floor(at + step)))
            await self._database.execute(statements.add_mark(source), {"lo": at, "hi": upto})
            done += await self.refresh([source.name])
            at = upto
            if progress:
                progress((at - start) / (end - start))
        return done

    # Rows that leave, and rows that come too late ------------------------------------------------------------------

    async def blocks(self, source_name: str, hi: datetime) -> str | None:
        """Return why the rows of a source before `hi` cannot leave yet, or None."""
        source = self.sources.get(source_name)
        if source is None:
            return None
        marks = await self._database.fetch_one(statements.overlapping(source), {"hi": hi})
        if marks.marks:
            return f"{marks.marks} changes are not folded yet, the oldest since {marks.oldest:%Y-%m-%d %H:%M:%S} UTC"
        now = datetime.now(UTC)
        for level in source.children:
            end = level.rollup.every.shift(level.rollup.every.floor(hi - timedelta(microseconds=1)))
            if end > now and not level.rollup.incremental:
                return f"the bucket of {level.name} that it belongs to is open until {end:%Y-%m-%d %H:%M} UTC"
        return None

    async def let_go(self, connection: Connection, source_name: str, hi: datetime) -> None:
        """Make roll-ups independent of the rows before `hi`, in the caller's transaction; nobody may write them any more.

        Raises if something there is not folded yet.
        """
        source = self.sources.get(source_name)
        if source is None:
            return
        await connection.fetch_value(QUERIES.lock_source_waiting, {"source": source.name})
        gone = (await self._gone(connection, source)).get(source.name)
        if gone is not None and hi <= gone:
            return
        marks = await connection.fetch_one(statements.overlapping(source), {"hi": hi})
        if marks.marks:
            raise UsageError(
                f"{source.name}: {marks.marks} changes before {hi} are not folded yet", hint="Run `chainstrata rollups refresh`."
            )
        for level in source.children:
            frozen = level.rollup.every.floor(hi)
            await connection.execute(statements.settle(level), {"frozen": frozen})
            if frozen < hi:
                await connection.execute(statements.carry(source, level), {"lo": gone.isoformat() if gone else ALWAYS, "hi": hi})
        await connection.execute(QUERIES.set_gone, {"source": source.name, "gone_before": hi})

    async def gone_before(self, source_name: str) -> datetime | None:
        """Return the instant before which the rows of a source have left."""
        source = self.sources.get(source_name)
        return (await self._gone(self._database, source)).get(source_name) if source else None

    def takes_late(self, dataset_name: str) -> bool:
        """Whether rows of a dataset that come too late to be kept are merged into its roll-ups; else they go to quarantine."""
        source = self.sources.get(dataset_name)
        return source is not None and all(level.rollup.late is Late.MERGE for level in source.children)

    async def merge_late(self, connection: Connection, dataset_name: str, relation: sql.Composable) -> None:
        """Merge late rows, given as a relation shaped like the dataset's table, in the caller's transaction."""
        source = self.sources[dataset_name]
        await self._merge_late(connection, source, sql.SQL("(SELECT * FROM {})").format(relation))

    async def fold_in(self, connection: Connection, dataset_name: str, relation: sql.Composable, *, rows: int, apart: bool) -> bool:
        """Add new rows, given as a relation shaped like the dataset's table, to their buckets, in the caller's transaction.

        `apart` says that no two of them are of one key. False: they were not added, and have to be marked, because a refresh is
        under way, or a measure cannot be added to.
        """
        source = self.sources.get(dataset_name)
        if source is None or not all(statements.can_add(source, level) for level in source.children):
            return False
        # Shared, so that writers do not keep each other out; a refresh that waits goes first.
        if not await connection.fetch_value(QUERIES.lock_source_shared, {"source": source.name}):
            return False
        few = rows <= FEW_ROWS
        try:
            async with connection.savepoint():
                for level in source.children:
                    alone = apart and set(level.rollup.by) == set(source.key)
                    await connection.execute(statements.add(source, level, relation, few=few, apart=alone))
                    if level.dirty is not None and not few:
                        await connection.execute(statements.mark_added(source, level, relation))
        except StatementFailed:
            # No partition for the bucket yet, perhaps: the rows are right, and a refresh makes what it needs.
            return False
        return True

    async def _merge_late(self, connection: Connection, source: Source, rows: sql.Composable) -> None:
        gone = await self._gone(connection, source)
        for level in source.children:
            cut = gone.get(level.name)
            bounds = {"cut": cut.isoformat() if cut else ALWAYS}
            kept = sql.SQL("(SELECT * FROM {} AS late WHERE late.{} >= %(cut)s::timestamptz)").format(rows, sql.Identifier(source.time))
            touched = await connection.fetch_all(statements.late(source, level, kept), bounds, row_factory=tuple_row)
            if touched:
                starts = [row[-1] for row in touched]
                await connection.execute(
                    statements.mark_carried(source, level), _pairs(level, Pairs([row[:-1] for row in touched], starts))
                )
            lower = self.sources.get(level.name)
            if cut is not None and lower is not None:
                older = sql.SQL("(SELECT * FROM {} AS late WHERE late.{} < {}::timestamptz)").format(
                    rows, sql.Identifier(source.time), sql.Literal(cut.isoformat())
                )
                await self._merge_late(connection, lower, sql.SQL("({})").format(fold(source, level, older)))


def _most_keys(source: Source, level: Level, found: Any) -> float | None:
    """Return of how many keys a bucket is worth doing key by key, going by buckets that were read. None: there were none."""
    if not found.buckets:
        return None
    # Of a level above another, a bucket is folded from so many below at most.
    below = source.level and level.rollup.every.mean_length / source.level.rollup.every.mean_length
    return most_keys(found.rows / found.buckets, below or float(found.samples) / found.rows)


def _pairs(level: Level, pairs: Pairs) -> dict[str, Any]:
    every = level.rollup.every
    params: dict[str, Any] = {f"key_{place}": [key[place] for key in pairs.keys] for place in range(len(level.rollup.by))}
    ends = {start: every.shift(start) for start in set(pairs.starts)}
    return params | {"lo": list(pairs.starts), "hi": [ends[start] for start in pairs.starts]}


def _difference(level: Level, row: Sequence[Any], width: int) -> Difference:
    bucket, is_kept, is_expected, kept, expected = row[width:]
    return Difference(level.name, tuple(row[:width]), bucket, kept if is_kept else None, expected if is_expected else None)
