"""What a query may say: times as text, and only parameters that the route has.

One that is misspelt would be passed over, and the answer be to another question.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import Request
from pydantic import BeforeValidator

from chainstrata.api.errors import InvalidRequest

_NUMBER: Final = re.compile(r"\s*[+-]?[\d_]*\.?\d*([eE][+-]?\d+)?\s*")
_OFFSET: Final = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)")


def _written(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value):
        raise ValueError("has to be written out, as 2026-01-02T03:04:05Z")
    # A plus in an address stands for a space, and after a time of day a space can only have been a plus.
    return _OFFSET.sub(r"\1+\2", value)


WRITTEN: Final = BeforeValidator(_written)
"""For times and days: a number could count seconds, or thousandths of them."""
_KNOWN: Final[dict[int, frozenset[str]]] = {}


async def refuse_unknown(request: Request) -> None:
    """Raise `InvalidRequest` with the parameters of the query that the route does not take."""
    if not request.scope["query_string"] or not request.url.path.startswith("/api/"):
        return
    # By identity, because the routes of an application stay and cannot be hashed.
    route = request.scope["route"]
    known = _KNOWN.get(id(route))
    if known is None:
        known = _KNOWN[id(route)] = frozenset(_names(route.dependant))
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        listed = f"It takes {', '.join(sorted(known))}." if known else "It takes none."
        raise InvalidRequest([f"query.{name[:100]}: no such parameter. {listed}" for name in unknown])


def _names(dependant: Any) -> Iterator[str]:
    yield from (one.alias for one in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)
