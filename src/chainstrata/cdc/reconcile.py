"""Proof that a mirror is what its source is, row by row, and mending where it is not.

Both sides are summed up at one position of the log, by ranges of keys, each by its own engine. Where sums differ, the rows of that range
are told apart by their checksums. Rows that changed since the position say so themselves, by their version in the mirror; they are
looked at again at a later position, so that a table that is written to all the time can be compared too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from psycopg import sql
from psycopg.rows import tuple_row

from chainstrata.cdc import canonical
from chainstrata.cdc import slot as slots
from chainstrata.cdc.copy import Copier, check_files, list_files, under_snapshot
from chainstrata.cdc.history import History, Spans, is_present, list_spans
from chainstrata.cdc.mirror import MirrorSink
from chainstrata.cdc.model import show_lsn
from chainstrata.cdc.shape import Target
from chainstrata.engines.clickhouse import Columnar, quote_name, quote_names
from chainstrata.engines.postgres import Database
from chainstrata.model import Dataset
from chainstrata.model.columnar import VERSION, mirror_table

_ROUNDS: Final = 5
_LONG: Final = 24 * 3600.0
_AT_ONCE: Final = 2000
SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a comparison found. The lists hold keys, as texts, of the first rows of each kind."""

    dataset: str
    lsn: str
    source_rows: int
    mirror_rows: int
    missing: int = 0
    extra: int = 0
    different: int = 0
    orphaned: int = 0
    """Rows of the mirror whose declared parent is not in its mirror."""
    departed: int = 0
    """Rows the mirror has of times whose partitions left the source by retention, as is meant."""
    unsettled: int = 0
    """Rows that kept changing while they were looked at."""
    repaired: int = 0
    missing_keys: tuple[str, ...] = ()
    extra_keys: tuple[str, ...] = ()
    different_keys: tuple[str, ...] = ()
    orphaned_keys: tuple[str, ...] = ()
    problem: str = ""
    """Why it was not compared, and what to do about it."""

    @property
    def agrees(self) -> bool:
        return not (self.missing or self.extra or self.different or self.problem)


@dataclass(slots=True)
class _Found:
    """Rows that differ, by the MD5 of their key, with the key as people read it."""

    missing: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    different: dict[str, str] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Rows and checksums of ranges, and of columns that are only nearly equal their sums."""

    ranges: Mapping[str, tuple[Any, ...]]

    @property
    def rows(self) -> int:
        return sum(int(one[0]) for one in self.ranges.values())


class Reconciler:
    """Compares datasets with their mirrors."""

    def __init__(self, database: Database, columnar: Columnar, sink: MirrorSink, wait: Any) -> None:
        self._database = database
        self._columnar = columnar
        self._sink = sink
        self._wait = wait
        self._history = History(columnar)
        self._copier = Copier(database.conninfo, sink)

    async def compare(self, dataset: Dataset, parents: Mapping[str, Dataset], *, repair: bool = False) -> Reconciled:
        """Compare a dataset with its mirror, and mend the mirror if asked to."""
        types = await slots.read_types(self._database)
        source = await slots.read_source(self._database, dataset, types)
        targets = await self._sink.targets(dataset, source)
        found = _Found()
        result: tuple[str, int, int] | None = None
        ranges: list[str] | None = None
        repaired = 0
        for _ in range(_ROUNDS):
            files = await list_files(self._database, dataset)
            async with slots.export_snapshot(self._database.conninfo) as (snapshot, lsn):
                await self._wait(dataset.full_name, lsn)
                look = _Look(self._columnar, dataset, targets, lsn, await list_spans(self._database, dataset))
                async with under_snapshot(self._database.conninfo, snapshot, name="chainstrata reconcile") as session:
                    ours = await look.source_sums(session, ranges)
                    # Having read, the session keeps the table from being rewritten.
                    await check_files(session, dataset, files)
                    theirs = await look.mirror_sums(ranges)
                    result = result or (show_lsn(lsn), ours.rows, theirs.rows)
                    differing = look.differing(ours, theirs)
                    step = await look.rows(session, differing) if differing else _Found()
                if repair:
                    repaired += await self._repair(
                        dataset, targets, step, partial(self._copier.copy, snapshot=snapshot, lsn=lsn, files=files), lsn
                    )
            found.missing |= step.missing
            found.extra |= step.extra
            found.different |= step.different
            found.moving = step.moving
            if not step.moving:
                break
            ranges = sorted({key[: canonical.RANGE_DIGITS] for key in step.moving})
        orphaned, orphans = await self._orphans(dataset, parents)
        return Reconciled(
            dataset.full_name,
            *(result or ("", 0, 0)),
            missing=len(found.missing),
            extra=len(found.extra),
            different=len(found.different),
            orphaned=orphaned,
            departed=await self._history.count(dataset, await list_spans(self._database, dataset)),
            unsettled=len(found.moving),
            repaired=repaired,
            missing_keys=tuple(found.missing.values())[:SHOWN],
            extra_keys=tuple(found.extra.values())[:SHOWN],
            different_keys=tuple(found.different.values())[:SHOWN],
            orphaned_keys=orphans,
        )

    async def _repair(self, dataset: Dataset, targets: Sequence[Target], found: _Found, copy: Any, lsn: int) -> int:
        """Write what is missing or different as it is at the position, and remove what is extra. Later changes stand above it."""
        wanted = [*found.missing, *found.different]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            condition = sql.SQL("{} = ANY ({})").format(canonical.source_key(targets), sql.Literal(some))
            await copy(dataset, targets, condition)
        gone = list(found.extra)
        for start in range(0, len(gone), _AT_ONCE):
            chosen = f"{canonical.mirror_key(targets)} IN {{keys:Array(String)}}"
            await self._sink.remove(dataset, chosen, {"keys": gone[start : start + _AT_ONCE]}, lsn)
        return len(wanted) + len(gone)

    async def _orphans(self, dataset: Dataset, parents: Mapping[str, Dataset]) -> tuple[int, tuple[str, ...]]:
        """Return rows of the mirror whose parent is not mirrored though it should be: how many, and the first of them."""
        total, shown = 0, []
        child = mirror_table(dataset).view.name
        for parent in dataset.parents:
            other = parents.get(parent.dataset)
            if other is None or other.mirror is None:
                continue
            own = quote_names([name for name, _ in parent.columns])
            theirs = quote_names([name for _, name in parent.columns])
            known = " AND ".join(f"isNotNull({quote_name(name)})" for name, _ in parent.columns)
            key = ", ' ', ".join(f"toString({quote_name(name)})" for name in dataset.key)
            rows = await self._columnar.query_rows(
                f"SELECT concat({key}, '') AS key FROM {quote_name(child)}"
                f" WHERE {known} AND ({own}) NOT IN (SELECT {theirs} FROM {quote_name(mirror_table(other).view.name)})"
            )
            total += len(rows)
            shown += [row[0] for row in rows[:SHOWN]]
        return total, tuple(shown[:SHOWN])


class _Look:
    """One look at both sides of a dataset, at one position."""

    def __init__(self, columnar: Columnar, dataset: Dataset, targets: Sequence[Target], lsn: int, spans: Spans) -> None:
        self._columnar = columnar
        self._dataset = dataset
        self._targets = targets
        self._lsn = lsn
        self._tolerance = dict(dataset.mirror.approximate) if dataset.mirror else {}
        self._exact = [target for target in targets if target.name not in self._tolerance]
        self._near = [target for target in targets if target.name in self._tolerance]
        self._table = f"{quote_name(columnar.database)}.{quote_name(mirror_table(dataset).table.name)}"
        self._present = is_present(dataset, spans)

    async def source_sums(self, session: Any, ranges: Sequence[str] | None) -> _Sums:
        key = canonical.source_key(self._targets)
        near = sql.SQL("").join(sql.SQL(", sum({}::float8)").format(sql.Identifier(one.name)) for one in self._near)
        statement = sql.SQL("SELECT left({key}, {digits}) AS range, count(*), sum({checksum}){near} FROM {table} {some} GROUP BY 1").format(
            key=key,
            digits=sql.Literal(canonical.RANGE_DIGITS),
            checksum=canonical.source_checksum(self._exact),
            near=near,
            table=sql.Identifier(self._dataset.schema, self._dataset.table.name),
            some=self._some(ranges),
        )
        cursor = session.cursor(row_factory=tuple_row)
        await cursor.execute(statement)
        return _Sums({row[0]: row[1:] for row in await cursor.fetchall()})

    def _some(self, ranges: Sequence[str] | None) -> sql.Composable:
        if ranges is None:
            return sql.SQL("")
        key = canonical.source_key(self._targets)
        return sql.SQL("WHERE left({}, {}) = ANY ({})").format(key, sql.Literal(canonical.RANGE_DIGITS), sql.Literal(list(ranges)))

    async def mirror_sums(self, ranges: Sequence[str] | None) -> _Sums:
        near = "".join(f", sum(toFloat64({quote_name(one.name)}))" for one in self._near)
        some = "AND range IN {ranges:Array(String)}" if ranges is not None else ""
        rows = await self._columnar.query_rows(
            f"SELECT substring({canonical.mirror_key(self._targets)}, 1, {canonical.RANGE_DIGITS}) AS range, count() AS rows,"
            f" sum(toInt128({canonical.mirror_checksum(self._exact)})) AS checksum{near}"
            f" FROM {self._table} FINAL WHERE {VERSION} < {{lsn:UInt64}} AND {self._present} {some} GROUP BY range",
            {"lsn": self._lsn, "ranges": list(ranges or [])} if ranges is not None else {"lsn": self._lsn},
            timeout=_LONG,
        )
        return _Sums({row[0]: tuple(row[1:]) for row in rows})

    def differing(self, ours: _Sums, theirs: _Sums) -> list[str]:
        """Return the ranges that differ, or differ by more than is declared."""
        found = []
        for name in ours.ranges.keys() | theirs.ranges.keys():
            left, right = ours.ranges.get(name), theirs.ranges.get(name)
            if (
                left is None
                or right is None
                or tuple(map(int, left[:2])) != tuple(map(int, right[:2]))
                or not self._near_enough(left, right)
            ):
                found.append(name)
        return sorted(found)

    def _near_enough(self, left: Sequence[Any], right: Sequence[Any]) -> bool:
        for target, one, other in zip(self._near, left[2:], right[2:], strict=True):
            a, b = float(one or 0), float(other or 0)
            if abs(a - b) > self._tolerance[target.name] * max(abs(a), abs(b)):
                return False
        return True

    async def rows(self, session: Any, ranges: Sequence[str]) -> _Found:
        """Return the rows of these ranges that differ."""
        shown = sql.SQL(" || ' ' || ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in self._dataset.key)
        near = sql.SQL("").join(sql.SQL(", {}::float8").format(sql.Identifier(one.name)) for one in self._near)
        statement = sql.SQL("SELECT {}, {}, {}{} FROM {} {}").format(
            canonical.source_key(self._targets),
            canonical.source_checksum(self._exact),
            shown,
            near,
            sql.Identifier(self._dataset.schema, self._dataset.table.name),
            self._some(ranges),
        )
        cursor = session.cursor(row_factory=tuple_row)
        await cursor.execute(statement)
        ours = {row[0]: row[1:] for row in await cursor.fetchall()}
        theirs, moving = await self._mirror_rows(ranges)
        found = _Found(moving=moving)
        for key in (ours.keys() | theirs.keys()) - moving:
            left, right = ours.get(key), theirs.get(key)
            if right is None and left is not None:
                found.missing[key] = left[1]
            elif left is None and right is not None:
                found.extra[key] = right[1]
            elif left is not None and right is not None and not self._same(left, right):
                found.different[key] = left[1]
        return found

    def _same(self, left: Sequence[Any], right: Sequence[Any]) -> bool:
        if left[0] != right[0]:
            return False
        for target, one, other in zip(self._near, left[2:], right[2:], strict=True):
            if (one is None) != (other is None):
                return False
            if one is not None and abs(one - other) > self._tolerance[target.name] * max(abs(one), abs(other)):
                return False
        return True

    async def _mirror_rows(self, ranges: Sequence[str]) -> tuple[dict[str, tuple[Any, ...]], set[str]]:
        key = canonical.mirror_key(self._targets)
        shown = ", ' ', ".join(f"toString({quote_name(name)})" for name in self._dataset.key)
        near = "".join(f", toFloat64({quote_name(one.name)}) AS near_{number}" for number, one in enumerate(self._near))
        chosen = f"substring({key}, 1, {canonical.RANGE_DIGITS}) IN {{ranges:Array(String)}}"
        params = {"lsn": self._lsn, "ranges": list(ranges)}
        rows = await self._columnar.query_rows(
            f"SELECT {key} AS key, {canonical.mirror_checksum(self._exact)} AS checksum, concat({shown}, '') AS shown{near}"
            f" FROM {self._table} FINAL WHERE {VERSION} < {{lsn:UInt64}} AND {self._present} AND {chosen}",
            params,
            timeout=_LONG,
        )
        moving = await self._columnar.query_rows(
            f"SELECT DISTINCT {key} AS key FROM {self._table} WHERE {VERSION} >= {{lsn:UInt64}} AND {chosen}", params, timeout=_LONG
        )
        return {row[0]: tuple(row[1:]) for row in rows}, {row[0] for row in moving}
