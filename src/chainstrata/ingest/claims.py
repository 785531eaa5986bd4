"""Names of batches: each is taken once, in the transaction that writes its rows; a long one of the spool piece by piece.

What became of a batch is noted with its name. While only some pieces of it are written, the note also says how many rows these had, so
that whoever goes on, another process too, begins where the last transaction ended.

Batches that nobody named get a name too, for as long as it is in doubt whether they are written. The server could be asked what became
of a transaction by its number, but one that lost its log in a crash gives the number to another.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.errors import ChainStrataError, UsageError
from chainstrata.ingest.model import Answer, Piece

QUERIES: Final = load_queries(__package__)
_TAKEN: Final = "taken"
_MOST_BYTES: Final = 1_000


def check_name(batch: str) -> None:
    """Raise `UsageError` for a name that cannot be kept as it is."""
    try:
        size = len(batch.encode())
    except UnicodeEncodeError as error:
        raise UsageError("the name of the batch is not text that UTF-8 can hold", hint="Name it in plain characters.") from error
    if size > _MOST_BYTES or "\0" in batch:
        problem = f"has {size} bytes, at most {_MOST_BYTES} are kept" if size > _MOST_BYTES else "holds a byte of zero"
        raise UsageError(f"the name of the batch {problem}", hint="Name it shortly, as by the hash of what it holds.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A name somebody asked for. `given` is what its batch was answered before, if its rows are not to be written again.

    `before` is what became of the pieces before this one.
    """

    dataset: str
    name: str
    piece: Piece | None
    before: Answer
    given: Answer | None = None

    async def settle(self, connection: Connection, answer: Answer) -> None:
        """Note what became of the rows, and of those before them."""
        note: dict[str, Any] = asdict(answer)
        if self.piece is not None:
            left = self.piece.of - self.piece.end
            note = {**asdict(self.before + answer), "spooled": left, **({_TAKEN: self.piece.end} if left else {})}
        await connection.execute(QUERIES.settle_batch, {"dataset": self.dataset, "batch": self.name, "answer": Jsonb(note)})


@dataclass(slots=True)
class Receipt:
    """Names that a transaction gives the rows it writes, should its outcome stay unknown: then they are spooled under these.

    `known` are names that need not be kept any longer, because their outcome is known. `is_noted`: the rows may be written.
    """

    dataset: str
    names: Sequence[str]
    known: Sequence[str] = ()
    is_noted: bool = False

    def doubt(self, error: ChainStrataError) -> ChainStrataError | None:
        """Return the error that a transaction ended with, if its rows may be written for all that."""
        return error if self.is_noted and self.names else None

    async def note(self, connection: Connection) -> None:
        """Take the names, as the first thing in the transaction of this connection."""
        await connection.execute(QUERIES.note_receipt, self._values())

    def statement(self) -> sql.Composed:
        """Return what takes the names, as the first thing in a transaction that is sent whole."""
        return QUERIES.note_receipt.with_values(**self._values())

    def _values(self) -> dict[str, Any]:
        self.is_noted = True
        return {"dataset": self.dataset, "names": list(self.names), "known": list(self.known)}


async def claim(connection: Connection, dataset: str, name: str, piece: Piece | None = None) -> Claim:
    """Take the name of a batch, or a piece of it, in the caller's transaction. Of two who do so at once one waits for the other."""
    before = (await connection.fetch_one(QUERIES.claim_batch, {"dataset": dataset, "batch": name})).answer
    if before is None:
        return Claim(dataset, name, piece, Answer(dataset))
    taken, answer = _read(before)
    if piece is not None and taken == piece.start:
        return Claim(dataset, name, piece, answer)
    return Claim(dataset, name, piece, answer, Answer(**{**asdict(answer), "repeated": True}))


async def count_taken(database: Database, dataset: str, name: str) -> int | None:
    """Return how many rows of a batch are written; None once it is all there."""
    note = await database.fetch_value(QUERIES.find_batch, {"dataset": dataset, "batch": name})
    return _read(note)[0] if note is not None else 0


def _read(note: dict[str, Any]) -> tuple[int | None, Answer]:
    told = dict(note)
    taken = told.pop(_TAKEN, None)
    return taken, Answer(**told)
