"""Series without holes: for every entity and bucket of time the row that held at its end, marked where the bucket has none of its own.

A row holds from its time until the next row of its entity. Where only changes are stored it holds for a heartbeat at most: had the entity
still been seen, there would be another row by then. What held for how much of a bucket weighs its mean. Everything is made from the rows
in one snapshot, so late, corrected and deleted ones are in it at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from chainstrata.errors import UnknownName, UsageError
from chainstrata.model import Dataset, Interval
from chainstrata.model.marking import floor_sql, identifier, next_sql, step_sql

BUCKET, FILLED = "bucket", "filled"
_AND = sql.SQL(" AND ")


class CannotFill(UsageError):
    """A dataset that is no series of single rows of its entities, so that nothing says what held between them."""

    code = "cannot_fill"
    http_status = 422

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is no series that can be filled", hint="Its key has to be what it declares as entity, and its time.")


@dataclass(frozen=True, slots=True)
class Filling:
    """How a dataset is filled: in buckets of `every`, with the means of some columns over the time their values held."""

    dataset: Dataset
    every: Interval
    means: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dataset = self.dataset
        if not dataset.entity or not dataset.time or {*dataset.entity, dataset.time} != set(dataset.key):
            raise CannotFill(dataset.full_name)
        if not self.every.fixed and self.every.count > 1:
            hint = "Ask for one month, quarter or year, or for days and weeks."
            raise UsageError(f"buckets of {self.every} are not counted from anywhere", hint=hint)
        numbers = [column.name for column in dataset.table.c if is_number(column.type) and column.name not in dataset.key]
        for name in self.means:
            if name not in numbers:
                raise UnknownName(f"column of numbers of {dataset.full_name}", name, numbers)

    @property
    def mean_names(self) -> tuple[str, ...]:
        return tuple(f"{name}_mean" for name in self.means)

    def span(self, since: datetime, until: datetime, as_of: datetime | None = None) -> dict[str, datetime]:
        """Return the parameters `since` and `end`: whole buckets, but nothing that is about a time after `as_of`, or still to come."""
        edge = self.every.floor(until)
        whole = edge if edge == until else self.every.shift(edge)
        known = min(datetime.now(UTC), as_of + timedelta(microseconds=1)) if as_of is not None else datetime.now(UTC)
        return {"since": self.every.floor(since), "end": min(whole, known)}

    def statement(self, wanted: sql.Composable, columns: sql.Composable, *, texts: bool = False) -> sql.Composed:
        """Return the query for bucket, whether it is filled, `columns` of the row `t` that held last, and the means.

        `wanted` is the relation of that name, with the columns of the entity. `texts` gives exact means as JSON is to hold them.
        """
        time = sql.Identifier(self.dataset.time)
        start = sql.SQL("b.start")
        return sql.SQL(
            "WITH RECURSIVE {wanted}, held AS ({held}), part AS (SELECT t.*, b.start AS __bucket,"
            " extract(epoch FROM least(t.__until, {next}) - greatest(t.{time}, b.start)) AS __seconds FROM held AS t"
            " CROSS JOIN LATERAL (SELECT clock AT TIME ZONE 'UTC' FROM generate_series({first} AT TIME ZONE 'UTC',"
            " (t.__until - interval '1 microsecond') AT TIME ZONE 'UTC', {step}) AS clock) AS b (start))"
            " SELECT DISTINCT ON ({entity}, __bucket) t.__bucket AS bucket, t.{time} < t.__bucket AS filled, {columns}{means}"
            " FROM part AS t WINDOW own AS (PARTITION BY {entity}, t.__bucket) ORDER BY {entity}, __bucket, t.{time} DESC"
        ).format(
            wanted=wanted,
            held=self._held(),
            next=next_sql(self.every, start),
            time=time,
            first=floor_sql(self.every, sql.SQL("greatest(t.{}, %(since)s)").format(time)),
            step=step_sql(self.every),
            entity=_names(self.dataset.entity, "t"),
            columns=columns,
            means=sql.SQL("").join(sql.SQL(", {}").format(self._mean(name, texts=texts)) for name in self.means),
        )

    def _held(self) -> sql.Composed:
        """Select the rows of the span, and of each entity the one before it if that holds still; `__until` is how long each holds."""
        time, change_only = sql.Identifier(self.dataset.time), self.dataset.change_only
        same = _AND.join(sql.SQL("t.{0} = wanted.{0}").format(sql.Identifier(name)) for name in self.dataset.entity)
        lasts = [next_sql(change_only.heartbeat, sql.SQL("t.{}").format(time))] if change_only else []
        back: sql.Composable = sql.SQL("")
        if change_only:
            # Said of the time itself too, because only that leaves partitions out.
            longest = sql.Literal(f"{change_only.heartbeat.longest.total_seconds():.0f} seconds")
            back = sql.SQL(" AND {} > %(since)s AND t.{} > %(since)s - {}::interval").format(lasts[0], time, longest)
        return sql.SQL(
            "SELECT t.*, least({until}) AS __until FROM wanted CROSS JOIN LATERAL ("
            "(SELECT t.* FROM {table} AS t WHERE {same} AND t.{time} < %(since)s AND t.{time} < %(end)s{back} ORDER BY t.{time} DESC LIMIT 1)"
            " UNION ALL (SELECT t.* FROM {table} AS t WHERE {same} AND t.{time} >= %(since)s AND t.{time} < %(end)s)) AS t"
        ).format(
            until=sql.SQL(", ").join(
                [
                    sql.SQL("lead(t.{}) OVER (PARTITION BY {} ORDER BY t.{})").format(time, _names(self.dataset.entity, "t"), time),
                    *lasts,
                    sql.SQL("%(end)s"),
                ]
            ),
            table=identifier(self.dataset.table),
            same=same,
            time=time,
            back=back,
        )

    def _mean(self, name: str, *, texts: bool) -> sql.Composed:
        column = sql.Identifier(name)
        is_exact = not isinstance(self.dataset.table.c[name].type, sa.Float)
        return sql.SQL(
            "(sum(t.{c} * t.__seconds) OVER own / nullif(sum(t.__seconds) FILTER (WHERE t.{c} IS NOT NULL) OVER own, 0)){text} AS {name}"
        ).format(c=column, text=sql.SQL("::text" if texts and is_exact else ""), name=sql.Identifier(f"{name}_mean"))


def is_number(kind: Any) -> bool:
    """Whether a column of this type holds numbers."""
    return isinstance(getattr(kind, "data_type", kind), sa.Integer | sa.Numeric)


def _names(names: Sequence[str], relation: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(relation, name) for name in names)
