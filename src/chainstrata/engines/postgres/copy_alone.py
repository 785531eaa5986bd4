"""COPY into the server as a transaction of its own in one message: what goes before it, the rows, what goes after it, and the commit.

The server goes from one statement of a message to the next without asking. So the rows wait for its answer once, and their writer
for one more: that the commit is done. Whatever fails, the rest of the message is left out and the transaction is undone.
"""

import asyncio
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import psycopg
from psycopg import pq, sql, waiting
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from chainstrata.engines.postgres.connection import Connection

_CHECK_SECONDS: Final = 1.0
_PIECE: Final = 128 * 1024
_FINE: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.COPY_IN)
Steps = Generator[Wait, Ready | int, Any]


@dataclass(slots=True)
class CopyAlone:
    """A transaction of one COPY FROM STDIN and of what comes `before` and `after` it. No statement has parameters.

    `blocks` is what is copied, made while the server works on what it has. `told` is the answer to what was asked once all was
    committed.
    """

    copy: sql.Composable
    blocks: Iterable[Any]
    before: Sequence[sql.Composable] = ()
    after: Sequence[sql.Composable] = ()
    ask: sql.Composable | None = None
    told: str = ""

    def message(self, driver: psycopg.AsyncConnection[Any]) -> bytes:
        return b"; ".join(statement.as_bytes(driver) for statement in self.statements())

    def statements(self) -> list[sql.Composable]:
        asked = [self.ask] if self.ask is not None else []
        return [sql.SQL("BEGIN"), *self.before, self.copy, *self.after, sql.SQL("COMMIT"), *asked]


async def run_alone(connection: Connection, work: CopyAlone, threads: Executor | None) -> None:
    """Commit it, or nothing of it; raises the driver's errors, and whatever making the blocks does.

    It runs in a thread, so that the loop goes on while the blocks are made. Cancelled, it is undone, unless it was just committed.
    The thread waits as long as the server does not answer, so `threads` are those of connections, and nobody else's.
    """
    driver = connection.driver
    pgconn = driver.pgconn

    def follow(steps: Steps) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(threads, waiting.wait, steps, pgconn.socket, _CHECK_SECONDS)

    async with driver.lock:
        task = follow(_run(pgconn, work, work.message(driver)))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The thread must be through with the connection before anybody else uses it.
            pgconn.get_cancel().cancel()
            await asyncio.wait({task})
            raise
        finally:
            # Wherever it stopped; a connection that is broken is left as it is.
            if pgconn.status == ConnStatus.OK and pgconn.transaction_status != TransactionStatus.IDLE:
                await follow(_undo(pgconn))


def _run(pgconn: pq.abc.PGconn, work: CopyAlone, message: bytes) -> Steps:
    answers: list[pq.abc.PGresult] = []
    pgconn.send_query(message)
    yield from _flush(pgconn)
    blocks = iter(work.blocks)
    # While the server opens the transaction.
    first = next(blocks, b"")
    yield from _answers(pgconn, answers)
    if answers[-1].status == ExecStatus.COPY_IN:
        yield from _send(pgconn, chain([first], blocks))
        yield from _end(pgconn, None, answers)
    failed = next((answer for answer in answers if answer.status not in _FINE), None)
    if failed is not None:
        raise psycopg.errors.error_from_result(failed)
    # The COPY is answered twice: that rows may come, and that they are in.
    if len(answers) != len(work.statements()) + 1:
        raise psycopg.OperationalError(f"the connection ended after {len(answers)} answers")
    if work.ask is not None:
        work.told = _value(answers[-1])


def _send(pgconn: pq.abc.PGconn, blocks: Iterable[Any]) -> Steps:
    for block in blocks:
        for start in range(0, len(block), _PIECE):
            while not pgconn.put_copy_data(block[start : start + _PIECE]):
                yield Wait.W
        yield from _flush(pgconn)


def _end(pgconn: pq.abc.PGconn, problem: bytes | None, answers: list[pq.abc.PGresult]) -> Steps:
    while not pgconn.put_copy_end(problem):
        yield Wait.W
    yield from _flush(pgconn)
    yield from _answers(pgconn, answers)


def _flush(pgconn: pq.abc.PGconn) -> Steps:
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            # The server may have refused already, and waits for room to say so.
            pgconn.consume_input()


def _answers(pgconn: pq.abc.PGconn, answers: list[pq.abc.PGresult]) -> Steps:
    """Add what the server answers until it wants rows, or has no more to say."""
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        answer = pgconn.get_result()
        if answer is None:
            return
        answers.append(answer)
        if answer.status == ExecStatus.COPY_IN:
            return


def _undo(pgconn: pq.abc.PGconn) -> Steps:
    answers: list[pq.abc.PGresult] = []
    yield from _flush(pgconn)
    yield from _answers(pgconn, answers)
    if answers and answers[-1].status == ExecStatus.COPY_IN:
        yield from _end(pgconn, b"the rows cannot be made", answers)
    if pgconn.transaction_status in (TransactionStatus.INERROR, TransactionStatus.INTRANS):
        pgconn.send_query(b"ROLLBACK")
        yield from _flush(pgconn)
        yield from _answers(pgconn, answers)


def _value(answer: pq.abc.PGresult) -> str:
    return (answer.get_value(0, 0) or b"").decode() if answer.ntuples else ""
