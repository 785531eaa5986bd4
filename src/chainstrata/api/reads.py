"""Every dataset and roll-up, read by its declaration: what there is, rows, the latest of each entity, buckets."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Table

from chainstrata.access import Role
from chainstrata.api.access import ThePlatform, guard
from chainstrata.api.declared import DatasetAnswer, DatasetsAnswer, describe
from chainstrata.api.envelope import ARROW, JSON, NDJSON, ArrowWriter, RowsAnswer, answer_page, answer_stream
from chainstrata.api.errors import InvalidRequest, documented
from chainstrata.api.examples import BUCKETS, ROWS
from chainstrata.api.parameters import WRITTEN
from chainstrata.engines.postgres.arrow import Batches
from chainstrata.model import Dataset, Interval, read_table
from chainstrata.node import Platform
from chainstrata.query import (
    BucketLines,
    BucketPage,
    BucketRows,
    Freshness,
    Order,
    Wanted,
    chosen_columns,
    make_page,
    read_cursor,
    write_cursor,
)

router: Final = APIRouter(tags=["data"], dependencies=[Depends(guard(Role.READ))])
MOST: Final = 10_000
BUCKETS_BY_DEFAULT: Final = 500
_ERRORS: Final = documented(400, 401, 403, 404, 422, 429, 503, 504)
EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(9998, 1, 1, tzinfo=UTC)

Name = Annotated[str, Path(max_length=200, description="Dataset, as prices.minute.")]
Filters = Annotated[
    list[str] | None,
    Query(
        alias="filter",
        max_length=1000,
        description="column:value. Given several times for one column, any of the values; for several columns, all. "
        "For columns of the key, the entity, and those an index begins with.",
        examples=["validator_index:42"],
    ),
]
Columns = Annotated[str | None, Query(max_length=2000, description="Columns to answer, with commas between. Those of the key always are.")]
From = Annotated[datetime | None, WRITTEN, Query(alias="from", description="Rows from this time on.")]
To = Annotated[datetime | None, WRITTEN, Query(description="Rows before this time.")]
AsOf = Annotated[
    datetime | None,
    WRITTEN,
    Query(description="The state at this time: nothing that is about later. For series, and rows that are only ever added."),
]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Most rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=4000, description="`page.next` of the page before; all else unchanged.")]
Format = Annotated[
    Literal["json", "ndjson", "arrow"] | None,
    Query(description="json: a page in the envelope. ndjson, arrow: all rows, as lines or as an Arrow stream, with freshness in headers."),
]


def answers(example: dict[str, Any], *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {JSON: {"example": example}}
    if streams:
        content[NDJSON] = {"schema": {"type": "string"}, "example": '{"coin_id": "bitcoin", "price_usd": "64000.5"}\n'}
        content[ARROW] = {"schema": {"type": "string", "format": "binary"}, "example": "an Arrow IPC stream"}
    headers = {"ETag": {"schema": {"type": "string"}, "description": "Stands for the rows; send it as If-None-Match."}}
    return {
        200: {"model": RowsAnswer, "content": content, "headers": headers},
        304: {"description": "The rows are those that If-None-Match names."},
        **_ERRORS,
    }


@router.get("/datasets", summary="Datasets", responses=documented(401, 403, 429))
async def get_datasets(platform: ThePlatform) -> DatasetsAnswer:
    """Every dataset of every pack, with what it is and which roll-ups it has."""
    return DatasetsAnswer(datasets=[describe(platform.catalog, dataset) for dataset in platform.catalog])


@router.get(
    "/datasets/{name}",
    summary="A dataset's declaration",
    responses=documented(401, 403, 404, 422, 429),
)
async def get_dataset(platform: ThePlatform, name: Name) -> DatasetAnswer:
    """Columns with their meaning and what JSON holds for them, key, entity, time, roll-ups, how long rows are kept."""
    return describe(platform.catalog, platform.catalog.dataset(name))


@router.get("/datasets/{name}/rows", summary="Rows of a dataset", responses=answers(ROWS, streams=True), response_model=None)
async def get_rows(
    request: Request,
    platform: ThePlatform,
    name: Name,
    filters: Filters = None,
    columns: Columns = None,
    start: From = None,
    to: To = None,
    as_of: AsOf = None,
    order: Annotated[Order, Query(description="By the key, up or down.")] = Order.ASC,
    limit: Limit = 100,
    cursor: Cursor = None,
    format: Format = None,  # noqa: A002
) -> Response:
    """Rows in the order of the key, a page at a time; or all of them as a stream, with `format` or `Accept`.

    A series is told by `GET /datasets/{name}`: its key has the time. `as_of` then gives the rows about times up to then, as they are
    known now; of a dataset whose rows are written over it cannot be told what they were, so it is refused.
    """
    dataset = platform.catalog.dataset(name)
    wanted = Wanted(
        columns=split_columns(columns),
        filters=parse_filters(dataset, filters),
        start=_time(dataset, "from", start),
        end=_time(dataset, "to", to),
        as_of=aware(as_of),
        order=order,
        limit=limit,
        cursor=cursor or "",
    )
    freshness = await platform.pulse.of(dataset, as_of=wanted.as_of)
    media_type = _stream_type(request, format)
    if media_type:
        whole = replace(wanted, limit=limit if "limit" in request.query_params else 0)
        opened = platform.reader.lines(name, whole) if media_type == NDJSON else platform.reader.arrow(name, whole)
        return await _stream(request, opened, freshness, media_type)
    page = await platform.reader.rows(name, wanted)
    return answer_page(request, page, limit, replace(freshness, final=page.final))


@router.get("/datasets/{name}/latest", summary="The latest row of each entity", responses=answers(ROWS), response_model=None)
async def get_latest(
    request: Request,
    platform: ThePlatform,
    name: Name,
    filters: Filters = None,
    columns: Columns = None,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """For every entity, or those the filter names, its last row; with `as_of`, the last one up to then.

    Where only changes are stored, each row has `seen_at` besides: when the entity was last seen, changed or not.
    """
    dataset = platform.catalog.dataset(name)
    wanted = Wanted(
        columns=split_columns(columns), filters=parse_filters(dataset, filters), as_of=aware(as_of), limit=limit, cursor=cursor or ""
    )
    freshness = await platform.pulse.of(dataset, as_of=wanted.as_of)
    page = await platform.reader.latest(name, wanted)
    return answer_page(request, page, limit, replace(freshness, final=page.final))


@router.get("/rollups/{name}", summary="Buckets of a roll-up", responses=answers(BUCKETS, streams=True), response_model=None)
async def get_buckets(
    request: Request,
    platform: ThePlatform,
    name: Annotated[str, Path(max_length=200, description="Roll-up, as prices.minute.hourly.")],
    filters: Filters = None,
    columns: Columns = None,
    start: Annotated[
        datetime | None, WRITTEN, Query(alias="from", description="Buckets from the one of this time on. Default: 500 back.")
    ] = None,
    to: Annotated[datetime | None, WRITTEN, Query(description="Buckets that begin before this time. Default: now.")] = None,
    as_of: Annotated[datetime | None, WRITTEN, Query(description="Only buckets that had ended by then.")] = None,
    live: Annotated[bool, Query(description="With all that is not folded yet; false: as they are kept.")] = True,
    limit: Limit = 1000,
    cursor: Cursor = None,
    format: Format = None,  # noqa: A002
) -> Response:
    """Buckets in the order of key and time, a page at a time; or all of them as a stream, with `format` or `Accept`.

    `live` ones are what the rows give at this moment, late and corrected ones included; `is_open` are those that have not ended.
    With `as_of`, buckets that had ended by then, with the rows about them as they are known now.
    """
    dataset, rollup = platform.catalog.rollup(name)
    table = read_table(rollup, dataset.table, platform.catalog.pack_of(dataset).rollup_table(dataset, rollup))
    key = (*rollup.by, rollup.bucket)
    every = rollup.every
    now, moment = datetime.now(UTC), aware(as_of)
    end = aware(to) or now
    if moment is not None:
        end = min(end, every.floor(moment))
    begin = aware(start) or back(every, end)
    chosen = _bucket_columns(name, table, key, columns)
    after = read_cursor(cursor, name, Order.ASC, key) if cursor else []
    asked: dict[str, Any] = {"live": live, "keys": split_filters(filters), "after": after}
    freshness = await platform.pulse.of(dataset, as_of=moment)
    media_type = _stream_type(request, format)
    if media_type:
        # Nothing from the start of one bucket to the same is no bucket.
        span = (begin, end) if begin < end else (every.floor(begin), every.floor(begin))
        asked["limit"] = limit if "limit" in request.query_params else None
        opened = _open_buckets(platform, name, span, asked, media_type, (table, chosen))
        return await _stream(request, opened, replace(freshness, open=False if end <= every.floor(now) else None), media_type)
    page = make_page("", limit, str)
    if begin < end:
        [row] = await platform.rollups.read(name, begin, end, **asked, limit=limit + 1, wrap=BucketPage(table, chosen))
        page = make_page(row.body, limit, lambda last: write_cursor(name, Order.ASC, key, last), open=bool(row.any))
    return answer_page(request, page, limit, replace(freshness, open=bool(page.open), final=False if page.open else None))


def _bucket_columns(name: str, table: Table, key: Sequence[str], columns: str | None) -> tuple[str, ...]:
    """Return the columns of buckets to answer; sketches, which are for machines, if they are named alone."""
    known = [column for column in list(table.c.keys()) if not column.endswith("_sketch") and column not in ("created_at", "updated_at")]
    return tuple(column for column in chosen_columns(name, table, key, split_columns(columns)) if columns or column in known)


def _open_buckets(
    platform: Platform,
    name: str,
    span: tuple[datetime, datetime],
    asked: dict[str, Any],
    media_type: str,
    shown: tuple[Table, tuple[str, ...]],
) -> AbstractAsyncContextManager[Any]:
    if media_type == NDJSON:
        return platform.reader.lines_of(*platform.rollups.query(name, *span, **asked, wrap=BucketLines(*shown)))
    return platform.reader.arrow_of(*platform.rollups.query(name, *span, **asked, wrap=BucketRows(*shown)))


def _stream_type(request: Request, format: str | None) -> str:  # noqa: A002
    """Return the type of the stream that is asked for, or nothing."""
    if format is not None:
        return {"ndjson": NDJSON, "arrow": ARROW}.get(format, "")
    accepted = request.headers.get("accept", "")
    return next((one for one in (NDJSON, ARROW) if one in accepted), "")


async def _stream(request: Request, opened: AbstractAsyncContextManager[Any], freshness: Freshness, media_type: str) -> Response:
    blocks = _lines(opened) if media_type == NDJSON else _arrow(opened)
    # What is wrong with the question shows before the first byte; then it is still an error, not a stream that breaks off.
    first = await anext(blocks, b"")

    async def all_blocks() -> AsyncIterator[bytes]:
        async with aclosing(blocks):
            if first:
                yield first
            async for block in blocks:
                yield block

    return answer_stream(request, all_blocks(), freshness, media_type)


async def _lines(opened: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> AsyncGenerator[bytes, None]:
    async with opened as blocks:
        async for block in blocks:
            yield block


async def _arrow(opened: AbstractAsyncContextManager[Batches]) -> AsyncGenerator[bytes, None]:
    async with opened as batches:
        writer = ArrowWriter(batches.schema)
        async for batch in batches:
            yield writer.add(batch)
        yield writer.end()


def split_columns(columns: str | None) -> Sequence[str]:
    return [name.strip() for name in columns.split(",") if name.strip()] if columns else ()


def split_filters(filters: Sequence[str] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in filters or ():
        column, colon, value = one.partition(":")
        if not colon or "\0" in one:
            raise InvalidRequest([f"query.filter: {one!r} is not column:value"])
        found.setdefault(column, []).append(value)
    return found


def parse_filters(dataset: Dataset, filters: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the values wanted of each column, in the declaration's order, so that equal questions are one statement."""
    found = split_filters(filters)
    known = [column for column in list(dataset.table.c.keys()) if column in found]
    return {column: found[column] for column in (*known, *(column for column in found if column not in known))}


def _time(dataset: Dataset, name: str, moment: datetime | None) -> datetime | None:
    if moment is not None and not dataset.time:
        raise InvalidRequest([f"query.{name}: {dataset.full_name} has no time"])
    return aware(moment)


def back(every: Interval, end: datetime) -> datetime:
    try:
        return every.shift(every.floor(end), -BUCKETS_BY_DEFAULT)
    except (OverflowError, ValueError):
        return EARLIEST


def aware(moment: datetime | None) -> datetime | None:
    """Return an instant in UTC, which is what a time without a zone is taken for."""
    if moment is None:
        return None
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(known, EARLIEST), LATEST).astimezone(UTC)
