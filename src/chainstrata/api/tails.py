"""Rows as they come, as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse

from chainstrata.access import Role
from chainstrata.api.access import ThePlatform, guard
from chainstrata.api.errors import documented
from chainstrata.api.reads import Columns, Filters, Name, parse_filters, split_columns
from chainstrata.query import Event, Wanted

router: Final = APIRouter(tags=["data"], dependencies=[Depends(guard(Role.READ))])
SSE: Final = "text/event-stream"
_EXAMPLE: Final = 'id: WyJkZW1vIl0\ndata: {"coin_id": "bitcoin", "minute_ts": "2026-01-02T03:04:00+00:00", "price_usd": "64000.5"}\n\n'


@router.get(
    "/datasets/{name}/tail",
    summary="Rows of a series as they come",
    response_class=Response,
    responses={
        200: {"content": {SSE: {"schema": {"type": "string"}, "example": _EXAMPLE}}, "description": "Events, for as long as you read."},
        **documented(400, 401, 403, 404, 422, 429, 503),
    },
)
async def get_tail(
    platform: ThePlatform,
    name: Name,
    filters: Filters = None,
    columns: Columns = None,
    last_event_id: Annotated[str | None, Header(max_length=4000, description="The last event that was seen: go on after it.")] = None,
) -> Response:
    """Server-sent events: a row is an event with its JSON as data, in the order of time; looked for every half second.

    Each has an id; sent back as `Last-Event-ID`, as browsers do by themselves, the tail goes on after it. An event `gap` says that the
    reader was too slow, and ends the tail: connect again with its id and what was left out is read. A tail goes forward in time, so rows
    that come late for a time that was passed are not in it; read the rows for those.
    """
    dataset = platform.catalog.dataset(name)
    wanted = Wanted(columns=split_columns(columns), filters=parse_filters(dataset, filters))
    events = platform.tails.watch(name, wanted, after=last_event_id or "")
    # What is wrong with the question shows here, while it can still be an error.
    first = await anext(events)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_written(first, events), media_type=SSE, headers=headers)


async def _written(first: Event, events: AsyncGenerator[Event, None]) -> AsyncIterator[str]:
    async with aclosing(events):
        yield write_event(first)
        async for event in events:
            yield write_event(event)


def write_event(event: Event) -> str:
    """Return an event as it is sent. One without a row is a sign of life, which readers pass over."""
    if event.gap:
        return f"event: gap\nid: {event.id}\ndata: {{}}\n\n" if event.id else "event: gap\ndata: {}\n\n"
    return f"id: {event.id}\ndata: {event.row}\n\n" if event.row else ": here\n\n"
