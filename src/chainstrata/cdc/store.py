"""What the database knows of mirrors: their state, their dead letters, how far they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.rows import class_row

from chainstrata.cdc.model import show_lsn
from chainstrata.cdc.sink import Rejected
from chainstrata.cdc.slot import QUERIES
from chainstrata.engines.postgres import Database
from chainstrata.errors import ChainStrataError


class State(StrEnum):
    """How a mirror is kept; the table `strata.cdc_dataset` says what each means."""

    WAITING = "waiting"
    COPYING = "copying"
    STREAMING = "streaming"
    PAUSED = "paused"
    STOPPED = "stopped"
    LOST = "lost"
    ENDED = "ended"


HOLDING = frozenset({State.COPYING, State.STREAMING, State.PAUSED, State.STOPPED})
"""States in which changes that are not applied yet must be kept by the server."""


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """One mirror as the database has it."""

    dataset: str
    state: str
    since: datetime
    error_code: str | None
    error: str | None
    hint: str | None
    copied_rows: int
    rows: int
    dead_letters: int
    errors: int
    applied_lsn: str | None
    applied_at: datetime | None
    lag_p50: float | None
    lag_p95: float | None
    lag_p99: float | None
    origin: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was put aside."""

    id: int
    dataset: str
    sink: str
    lsn: str
    row_key: dict[str, str | None]
    reason: str
    detail: str
    content: dict[str, str | None]
    first_seen: datetime
    tries: int
    state: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What happened to a dataset since it was last noted."""

    lsn: int
    rows: int = 0
    dead_letters: int = 0
    lags: tuple[float, float, float] | None = None


class Store:
    """Mirrors in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, datasets: Sequence[str]) -> None:
        await self._database.execute(QUERIES.add_datasets, {"datasets": list(datasets)})

    async def list_mirrors(self) -> "list[MirrorRow]":
        return await self._database.fetch_all(QUERIES.list_datasets, row_factory=class_row(MirrorRow))

    async def set(
        self, dataset: str, state: State, *, among: Sequence[State] = tuple(State), error: ChainStrataError | None = None
    ) -> bool:
        """Bring a dataset into a state, if it is in one of those; return whether it was."""
        row = {
            "dataset": dataset,
            "state": state.value,
            "from": [one.value for one in among],
            "error_code": error.code if error else None,
            "error": error.message if error else None,
            "hint": error.hint if error else None,
        }
        return bool(await self._database.fetch_all(QUERIES.set_state, row))

    async def begin_anew(self, dataset: str) -> bool:
        """Let a dataset be copied anew; return whether it is mirrored at all."""
        async with self._database.transaction() as connection:
            found = await connection.fetch_all(QUERIES.begin_anew, {"dataset": dataset})
            await connection.execute(QUERIES.drop_chunks, {"dataset": dataset})
        return bool(found)

    async def list_ended(self) -> frozenset[str]:
        return frozenset(row.dataset for row in await self.list_mirrors() if row.state == State.ENDED)

    async def end(self, dataset: str, *, forget: bool) -> None:
        """Let a dataset be followed no more, and give up what was put aside of it; `forget` that it ever was."""
        async with self._database.transaction() as connection:
            if forget:
                await connection.execute(QUERIES.forget_dataset, {"dataset": dataset})
            else:
                row = {"dataset": dataset, "state": State.ENDED.value, "from": [one.value for one in State]}
                await connection.execute(QUERIES.set_state, {**row, "error_code": None, "error": None, "hint": None})
            await connection.execute(QUERIES.drop_chunks, {"dataset": dataset})
            await connection.execute(QUERIES.settle_dead, {"state": "dropped", "ids": [], "datasets": [dataset]})

    async def note(self, dataset: str, progress: Progress) -> None:
        lags = progress.lags or (None, None, None)
        row = {
            "dataset": dataset,
            "lsn": show_lsn(progress.lsn),
            "rows": progress.rows,
            "dead_letters": progress.dead_letters,
            "lag_p50": lags[0],
            "lag_p95": lags[1],
            "lag_p99": lags[2],
        }
        await self._database.execute(QUERIES.note_progress, row)

    async def note_failure(self, datasets: Sequence[str], error: ChainStrataError) -> None:
        row = {"datasets": list(datasets), "error_code": error.code, "error": error.message, "hint": error.hint}
        await self._database.execute(QUERIES.note_failure, row)

    async def end_chunk(self, dataset: str, number: int, rows: int) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(QUERIES.end_chunk, {"dataset": dataset, "number": number, "rows": rows})
            await connection.execute(QUERIES.add_copied, {"dataset": dataset, "rows": rows})

    async def put_aside(self, sink: str, rejected: Sequence[Rejected]) -> None:
        rows = [
            {
                "dataset": one.dataset,
                "sink": sink,
                "lsn": show_lsn(one.lsn),
                "row_key": json.dumps(one.key),
                "reason": one.reason,
                "detail": one.detail,
                "content": json.dumps(one.content),
            }
            for one in rejected
        ]
        await self._database.execute_many(QUERIES.put_aside, rows)

    async def list_dead(
        self,
        *,
        datasets: Sequence[str] = (),
        states: Sequence[str] = ("held",),
        ids: Sequence[int] = (),
        before: int | None = None,
        most: int = 100,
    ) -> "list[DeadLetter]":
        params: dict[str, Any] = {"datasets": list(datasets), "states": list(states), "ids": list(ids), "before": before, "most": most}
        return await self._database.fetch_all(QUERIES.list_dead, params, row_factory=class_row(DeadLetter))

    async def settle(self, state: str, *, ids: Sequence[int] = (), datasets: Sequence[str] = ()) -> int:
        return await self._database.execute(QUERIES.settle_dead, {"state": state, "ids": list(ids), "datasets": list(datasets)})
