"""Rows over HTTP: a body of NDJSON, Parquet, Arrow or CSV into a dataset, and what became of every row."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from chainstrata.access import Entry, Outcome
from chainstrata.access.audit import describe, outcome_of
from chainstrata.api.access import ThePlatform, Writer, entry_of
from chainstrata.api.bodies import BodyEncoding, Room, declared_size, read_body
from chainstrata.api.errors import documented
from chainstrata.api.examples import INGEST
from chainstrata.errors import UsageError
from chainstrata.model.columns import SYSTEM_SCHEMA
from chainstrata.node import Platform

if TYPE_CHECKING:
    from chainstrata.engines.postgres import Connection
    from chainstrata.ingest import Answer

router: Final = APIRouter(tags=["ingest"])
Format = Literal["ndjson", "parquet", "arrow", "csv"]
Encoding = Literal["", "gzip", "zstd"]
TYPES: Final[Mapping[str, Format]] = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "text/csv": "csv",
}
ENCODINGS: Final[Mapping[str, Encoding]] = {"": "", "identity": "", "gzip": "gzip", "zstd": "zstd"}
# Bodies of the largest size that are held in memory at once.
_AT_ONCE: Final = 4


class DatasetReserved(UsageError):
    """A dataset of the platform's own, which only the platform writes."""

    code = "dataset_reserved"
    http_status = 403

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is the platform's own", hint="Rows are taken into the datasets of packs.")


class IngestAnswer(BaseModel):
    """What became of the rows: each is in exactly one of the counts."""

    model_config = ConfigDict(json_schema_extra={"example": INGEST})

    dataset: str
    rows: int = Field(description="Rows there were.")
    accepted: int = Field(description="Written anew.")
    updated: int = Field(description="Written over a row with the same key.")
    unchanged: int = Field(description="Nothing new in them.")
    merged: int = Field(description="Too late to be kept, merged into roll-ups.")
    quarantined: int = Field(description="Not taken, and kept aside with the reason.")
    lsn: str = Field(description="Position of the log at which they are written.")
    repeated: bool = Field(description="A batch of this name was taken before; these are its counts and nothing was written.")
    spooled: int = Field(description="Safe on disk, and written as soon as PostgreSQL is back; what becomes of them is not known yet.")
    hint: str = Field(description="What puts rows in that are in quarantine because no partition holds their time; else empty.")


_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "The rows. Compressed as a whole with gzip or zstd if Content-Encoding says so.",
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "format": "binary"},
                "example": '{"coin_id": "bitcoin", "minute_ts": "2026-01-02T03:04:00Z", "price_usd": "64000.5"}\n',
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
            "text/csv": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post(
    "/ingest/{dataset}",
    summary="Take rows into a dataset",
    openapi_extra=_BODY,
    responses={
        202: {"model": IngestAnswer, "description": "Safe on disk; PostgreSQL is away."},
        **documented(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    },
)
async def post_rows(
    request: Request,
    platform: ThePlatform,
    caller: Writer,
    response: Response,
    dataset: Annotated[str, Path(max_length=200, description="Dataset, as prices.minute.")],
    strict: Annotated[bool, Query(description="Refuse all rows of a part if one of them does not fit.")] = False,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", description="Name of the batch, so that it may be sent again."),
    ] = None,
    content_encoding: Annotated[str | None, Header(description="gzip, zstd, or nothing.")] = None,
) -> IngestAnswer:
    """Rows that do not fit go to quarantine with the reason, and the others are written; with `strict` none is.

    The body is taken in parts of 65,536 rows, each one transaction. A batch that bears a name is taken once, whatever happens to the
    answer: send it again until there is one. Numbers may be text or JSON numbers; none is rounded. Every write is on record.
    """
    entry = entry_of(caller, "ingest", dataset)
    try:
        answer = await _take(request, platform, entry, strict=strict, batch=idempotency_key or "", encoding=content_encoding or "")
    except BaseException as error:
        await platform.audit.add(replace(entry, outcome=outcome_of(error), detail=describe(error)))
        raise
    counts = _counts(answer)
    if counts["spooled"]:
        await platform.audit.add(replace(entry, outcome=Outcome.DONE, detail=counts))
        response.status_code = 202
    return IngestAnswer(dataset=answer.dataset, lsn=answer.lsn, hint=answer.hint, **counts)


async def _take(request: Request, platform: Platform, entry: Entry, *, strict: bool, batch: str, encoding: str) -> "Answer":
    kind, packed = _read_type(request), encoding.strip().lower()
    if packed not in ENCODINGS:
        raise BodyEncoding(f"a body packed as {encoding!r} cannot be unpacked", hint="Content-Encoding may be gzip or zstd.")
    from chainstrata.ingest import Limits, Payload

    name = platform.catalog.dataset(entry.object).full_name
    if name.startswith(f"{SYSTEM_SCHEMA}."):
        raise DatasetReserved(name)
    limits = Limits.from_config(platform.config)

    async def witness(connection: "Connection", answer: "Answer") -> None:
        own = Entry(entry.caller, entry.action, entry.object, entry.request, Outcome.DONE, _counts(answer), entry.at)
        await platform.audit.record(connection, own)

    async with _room(request, limits.bytes).hold(declared_size(request, limits.bytes)):
        source = Payload(await read_body(request, limits.bytes), kind, ENCODINGS[packed], limits)
        return await platform.ingest(name, source, strict=strict, batch=batch, origin=f"http:{entry.caller.name}", witness=witness)


def _read_type(request: Request) -> Format:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in TYPES:
        raise BodyEncoding(f"a body of type {given!r} cannot be read as rows", hint=f"Content-Type may be {', '.join(TYPES)}.")
    return TYPES[given]


def _room(request: Request, limit: int) -> Room:
    """Return the room that all bodies of this application share."""
    state = request.app.state
    if not hasattr(state, "room"):
        state.room = Room(_AT_ONCE * limit)
    room: Room = state.room
    return room


def _counts(answer: "Answer") -> dict[str, Any]:
    names = ("rows", "accepted", "updated", "unchanged", "merged", "quarantined", "repeated", "spooled")
    return {name: getattr(answer, name) for name in names}
