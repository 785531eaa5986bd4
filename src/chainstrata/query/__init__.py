"""Query: rows of any dataset read by its declaration alone, a page at a time or as a stream, with how fresh they are.

JSON is made by the server, a page in one value, so that a row costs this process nothing. Every number arrives exactly: what a
double could not hold is text.
"""

from chainstrata.query.errors import AsOfNotKept, CursorInvalid, EntityNeeded, FilterUnknown, NoEntity, NotSeries, TooManyBuckets
from chainstrata.query.freshness import Freshness, Pulse
from chainstrata.query.model import Order, Page, Wanted
from chainstrata.query.planner import MOST_BUCKETS, chosen_columns, json_kind, looked_up_by, read_cursor, why_no_history, write_cursor
from chainstrata.query.runner import Reader, make_page
from chainstrata.query.statements import BucketLines, BucketPage, BucketRows
from chainstrata.query.tail import Event, Tails, TooManyWatchers

__all__ = [
    "MOST_BUCKETS",
    "AsOfNotKept",
    "BucketLines",
    "BucketPage",
    "BucketRows",
    "CursorInvalid",
    "EntityNeeded",
    "Event",
    "FilterUnknown",
    "Freshness",
    "NoEntity",
    "NotSeries",
    "Order",
    "Page",
    "Pulse",
    "Reader",
    "Tails",
    "TooManyBuckets",
    "TooManyWatchers",
    "Wanted",
    "chosen_columns",
    "json_kind",
    "looked_up_by",
    "make_page",
    "read_cursor",
    "why_no_history",
    "write_cursor",
]
