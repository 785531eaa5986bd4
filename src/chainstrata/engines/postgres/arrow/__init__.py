"""Large answers as Arrow, a batch at a time, at the speed the server sends them.

    async with open_arrow(connection, statement, params) as batches:
        async for batch in batches: ...

Rows come by binary COPY and are taken apart a column at a time. Every value is exact: NUMERIC with a declared precision becomes a
decimal, without one it is the server's own text, or the decimal asked for; `fetch_arrow` has the whole answer at hand and picks
a decimal that holds every value of a column.
"""

from chainstrata.engines.postgres.arrow.errors import Unrepresentable
from chainstrata.engines.postgres.arrow.reader import Batches, fetch_arrow, open_arrow

__all__ = ["Batches", "Unrepresentable", "fetch_arrow", "open_arrow"]
