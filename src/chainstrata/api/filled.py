"""Series without holes: buckets that carry the last value on, and means weighted by time."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from chainstrata.access import Role
from chainstrata.api.access import ThePlatform, guard
from chainstrata.api.envelope import answer_page
from chainstrata.api.errors import InvalidRequest
from chainstrata.api.examples import FILLED
from chainstrata.api.reads import AsOf, Columns, Name, answers, aware, back, parse_filters, split_columns
from chainstrata.model import Interval
from chainstrata.model.interval import read_interval
from chainstrata.query import MOST_BUCKETS, Wanted

router: Final = APIRouter(tags=["data"], dependencies=[Depends(guard(Role.READ))])


@router.get("/datasets/{name}/filled", summary="A series without holes", responses=answers(FILLED), response_model=None)
async def get_filled(
    request: Request,
    platform: ThePlatform,
    name: Name,
    filters: Annotated[
        list[str],
        Query(alias="filter", max_length=1000, description="column:value for every column of the entity.", examples=["validator_index:42"]),
    ],
    every: Annotated[str, Query(max_length=40, description="Length of a bucket, as 15m, 1h, 1d, 1w or 1mo.", examples=["1h"])],
    columns: Columns = None,
    means: Annotated[
        str | None,
        Query(
            max_length=2000, description="Columns of numbers, with commas between, whose mean over the bucket is wanted, as column_mean."
        ),
    ] = None,
    start: Annotated[datetime | None, Query(alias="from", description="Buckets from the one of this time on. Default: 500 back.")] = None,
    to: Annotated[datetime | None, Query(description="Buckets that begin before this time. Default: now.")] = None,
    as_of: AsOf = None,
) -> Response:
    """For each entity and bucket, the row that held at the bucket's end; `filled` where that is from before the bucket.

    A value holds until the next row of its entity; in a dataset that stores only what changes, for its heartbeat at most. Buckets before
    the first row, and those in which nothing held any more, are left out. A mean weighs each value with how long it held in the bucket.
    """
    dataset = platform.catalog.dataset(name)
    length = _interval(every)
    end = aware(to) or datetime.now(UTC)
    wanted = Wanted(
        columns=split_columns(columns),
        filters=parse_filters(dataset, filters),
        start=aware(start) or back(length, end),
        end=end,
        as_of=aware(as_of),
    )
    freshness = await platform.pulse.of(dataset, as_of=wanted.as_of)
    page = await platform.reader.filled(name, wanted, length, split_columns(means))
    return answer_page(request, page, MOST_BUCKETS, replace(freshness, final=page.final))


def _interval(text: str) -> Interval:
    try:
        return read_interval(text)
    except ValueError as error:
        raise InvalidRequest([f"query.every: {error}"]) from error
