"""A route for every question of every pack's repositories: `/api/v1/{pack}/{question}`, made from the method's own signature."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from inspect import Parameter, Signature
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime
from pydantic_core import to_json
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from chainstrata.access import Role
from chainstrata.api.access import ThePlatform, guard
from chainstrata.api.envelope import JSON, answer_rows
from chainstrata.api.errors import documented
from chainstrata.api.examples import FRESHNESS
from chainstrata.api.parameters import WRITTEN
from chainstrata.errors import UsageError
from chainstrata.model import Catalog
from chainstrata.node import Platform
from chainstrata.packs.repository import AS_OF, Question, columnar_class, questions_of, repository_class
from chainstrata.query import AsOfNotKept, Freshness

MOST: Final = 10_000
"""Rows one answer may have; larger ones are read from Python, or as a stream of their dataset."""
_LISTED: Final = 1000
_LONGEST: Final = 1000
_BOUNDED: Final = ("limit", "points")
_EXACT_IN_A_DOUBLE: Final = 2**53 - 1
# Days, and instants, with room for spans before and after them.
_FIRST: Final = date(1900, 1, 1)
_LAST: Final = date(2200, 1, 1)
_ERRORS: Final = documented(400, 401, 403, 404, 422, 429, 503, 504)


class AnswerTooLarge(UsageError):
    """A question whose answer has more rows than one answer over HTTP may have."""

    code = "answer_too_large"
    http_status = 422

    def __init__(self, question: str) -> None:
        super().__init__(
            f"the answer to {question} has more than {MOST} rows",
            hint="Ask for a shorter span or for fewer things, or read it from Python.",
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that only reads, whose it is, and whether the columnar engine answers it."""

    pack: str
    question: Question
    columnar: bool

    @property
    def name(self) -> str:
        return f"{self.pack}.{self.question.name}"

    async def answer(self, platform: Platform, arguments: dict[str, Any], as_of: datetime | None) -> tuple[list[Any], Freshness]:
        """Return its rows, and how fresh they are; raise `AnswerTooLarge`, for which one row too many is read and no more, or `AsOfNotKept`."""
        if as_of is not None:
            arguments = self._limited(arguments, as_of)
        if self.columnar:
            found = await self.question.ask((await platform.columnar_repository(self.pack)).at_most(MOST + 1), **arguments)
            freshness = Freshness(None, datetime.now(UTC), as_of=as_of)
        else:
            # Asked for first: what was committed before it is in what is read after it.
            freshness = await self._freshness(platform, as_of)
            found = await self.question.ask(platform.repository(self.pack).at_most(MOST + 1), **arguments)
        rows = found if isinstance(found, list) else [] if found is None else [found]
        if len(rows) > MOST:
            raise AnswerTooLarge(self.name)
        return rows, freshness

    def _limited(self, arguments: dict[str, Any], as_of: datetime) -> dict[str, Any]:
        """Return the arguments so that nothing later is in the answer."""
        upto = self.question.upto
        if not upto:
            raise AsOfNotKept(self.name, self.question.now or "it reads what is written over")
        # What is about that very instant belongs to it, and `until` is where a span has ended.
        last = as_of if upto in {"at", AS_OF} else as_of + timedelta(microseconds=1)
        given = arguments.get(upto)
        return {**arguments, upto: last if given is None else min(given, last)}

    async def _freshness(self, platform: Platform, as_of: datetime | None) -> Freshness:
        if self.question.of:
            return await platform.pulse.of(platform.catalog.dataset(f"{self.pack}.{self.question.of}"), as_of=as_of)
        return Freshness(await platform.pulse.lsn(), datetime.now(UTC), as_of=as_of)


class ByPath(BaseRoute):
    """Finds a route without parameters in its path at once; the framework looks through all routes, one after the other."""

    path = ""
    methods: Collection[str] = ()

    def __init__(self) -> None:
        self.routes: dict[str, BaseRoute] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        route = self.routes.get(scope["path"]) if scope["type"] == "http" else None
        return (Match.NONE, {}) if route is None else route.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["route"].handle(scope, receive, send)


def add_questions(app: FastAPI, prefix: str, catalog: Catalog) -> None:
    """Add the routes of all packs that are in use."""
    by_path = ByPath()
    for one in list_questions(catalog):
        question = one.question
        summary, _, rest = question.doc.partition("\n")
        content = {JSON: {"example": example_of(question), "schema": schema_of(question)}}
        path = f"{prefix}/{one.pack}/{question.name}"
        app.add_api_route(
            path,
            _endpoint(one),
            methods=["GET"],
            summary=summary.removeprefix("Return ").rstrip("."),
            description=f"{rest.strip() or summary}\n\nThe answer is a list; a question for one thing gives none or one.",
            operation_id=f"{one.pack}_{question.name}",
            tags=[one.pack],
            dependencies=[Depends(guard(Role.READ))],
            response_model=None,
            responses={200: {"content": content}, 304: {"description": "The rows are those that If-None-Match names."}, **_ERRORS},
        )
        by_path.routes[path] = app.router.routes[-1]
    app.router.routes.insert(0, by_path)


def list_questions(catalog: Catalog) -> Iterator[Asked]:
    """Yield every question that only reads."""
    for pack in catalog.packs:
        for question in questions_of(repository_class(pack)):
            if not question.writes:
                yield Asked(pack.name, question, columnar=False)
        columnar = columnar_class(pack)
        for question in questions_of(columnar) if columnar is not None else ():
            yield Asked(pack.name, question, columnar=True)


def _endpoint(one: Asked) -> Callable[..., Any]:
    question = one.question

    async def answer(request: Request, platform: ThePlatform, as_of: datetime | None, **arguments: Any) -> Response:
        rows, freshness = await one.answer(platform, arguments, as_of)
        return answer_rows(request, write_rows(rows), len(rows), freshness)

    given = [
        Parameter("request", Parameter.KEYWORD_ONLY, annotation=Request),
        Parameter("platform", Parameter.KEYWORD_ONLY, annotation=ThePlatform),
    ]
    given += [
        Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=_parameter(each.name, each.kind, question.example))
        for each in question.arguments
        if each.name != AS_OF
    ]
    given.append(Parameter("as_of", Parameter.KEYWORD_ONLY, default=None, annotation=_as_of(question)))
    answer.__signature__ = Signature(given)  # type: ignore[attr-defined]  # what FastAPI reads
    answer.__name__ = question.name
    return answer


# What it takes -------------------------------------------------------------------------------------------------------


def _parameter(name: str, kind: Any, example: Any) -> Any:
    """Return a parameter's type as a query string can carry it."""
    options: dict[str, Any] = {"openapi_examples": {"example": {"value": example[name]}}} if name in example else {}
    own = next((one for one in get_args(kind) if one is not type(None)), kind) if get_origin(kind) in {Union, UnionType} else kind
    if own is int:
        options |= {"ge": 1, "le": MOST} if name in _BOUNDED else {"ge": -(2**63), "le": 2**63 - 1}
    elif own in {float, Decimal}:
        options |= {"allow_inf_nan": False}
    elif own is str:
        options |= _TEXT
    elif get_origin(own) is Sequence:
        options |= {"max_length": _LISTED}
    return Annotated[_carried(kind), Query(**options)]


# PostgreSQL has no text with a NUL.
_TEXT: Final = {"max_length": _LONGEST, "pattern": "^[^\\x00]*$"}


def _carried(kind: Any) -> Any:
    if get_origin(kind) is Sequence:
        return list[_carried(get_args(kind)[0])]  # type: ignore[misc]  # a type made at run time
    if get_origin(kind) in {Union, UnionType}:
        [own] = [one for one in get_args(kind) if one is not type(None)]
        return _carried(own) | None
    # A time without a zone could be any of a day's.
    if kind is datetime:
        return Annotated[AwareDatetime, WRITTEN, AfterValidator(_within)]
    return Annotated[date, WRITTEN, AfterValidator(_within)] if kind is date else kind


def _within(moment: Any) -> Any:
    day = moment.date() if isinstance(moment, datetime) else moment
    if not _FIRST <= day < _LAST:
        raise ValueError(f"has to be from {_FIRST.year} to {_LAST.year - 1}")
    return moment


def _as_of(question: Question) -> Any:
    told = (
        "The state at this time: nothing that is about later."
        if question.upto
        else f"Refused: {question.now or 'it tells how things are now'}."
    )
    return Annotated[_carried(datetime | None), Query(description=told)]


# What it answers -----------------------------------------------------------------------------------------------------


def write_rows(found: Sequence[Any]) -> bytes:
    """Return what a question answers as JSON: a list of objects, a lone figure as its `value`.

    Exact numbers are text, whole ones a number as long as a double holds them, times in UTC, and what is no number as PostgreSQL names it.
    """
    kinds: list[Any] = [type(one) for one in found]
    rows = [_row_maker(kind)(one) for kind, one in zip(kinds, found, strict=True)]
    return to_json(rows, inf_nan_mode="strings", timedelta_mode="float")


@cache
def _row_maker(kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Return what makes an object of one thing: names as they are shown, and what JSON would spoil made into what it can carry."""
    if not is_dataclass(kind):
        return lambda value: {"value": _carryable(value)}
    names = [field.name for field in fields(kind)]
    shown, hints = [name.removesuffix("_") for name in names], get_type_hints(kind)
    # All values at once: a look at each is most of what an answer costs.
    values = attrgetter(*names) if len(names) > 1 else lambda row: (getattr(row, names[0]),)
    looked_at = [short for name, short in zip(names, shown, strict=True) if not _goes_as_it_is(hints[name])]

    def make(row: Any) -> dict[str, Any]:
        made = dict(zip(shown, values(row), strict=True))
        for name in looked_at:
            value = made[name]
            if value is not None and not (type(value) is int and -_EXACT_IN_A_DOUBLE <= value <= _EXACT_IN_A_DOUBLE):
                made[name] = _carryable(value)
        return made

    return make


def _goes_as_it_is(hint: Any) -> bool:
    """Whether values of this type need no look, because the writer of JSON does with them what is wanted."""
    if get_origin(hint) in {Union, UnionType}:
        return all(one is type(None) or _goes_as_it_is(one) for one in get_args(hint))
    return hint in _WRITTEN_WELL or (isinstance(hint, type) and issubclass(hint, StrEnum))


def _carryable(value: Any) -> Any:
    """Return a value that JSON can carry without loss."""
    match value:
        case bool():
            return value
        case int():
            return value if -_EXACT_IN_A_DOUBLE <= value <= _EXACT_IN_A_DOUBLE else str(value)
        case bytes():
            return f"0x{value.hex()}"
        case dict():
            return {str(name): _carryable(item) for name, item in value.items()}
        case list() | tuple():
            return [_carryable(item) for item in value]
    kind: Any = type(value)
    return _row_maker(kind)(value) if is_dataclass(value) else value


_WRITTEN_WELL: Final = frozenset({bool, str, float, Decimal, datetime, date, timedelta, UUID})


_EXAMPLES: Final[dict[Any, Any]] = {
    bool: False,
    bytes: "0x00",
    date: "2026-01-02",
    datetime: "2026-01-02T03:04:05Z",
    Decimal: "1.5",
    float: 0.5,
    int: 7,
    str: "…",
    timedelta: 90.0,
    UUID: "9b2c1a4e-6a55-4f0b-9d8e-2f1f4c7d5a11",
}
_SCHEMAS: Final[dict[Any, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    bytes: {"type": "string", "pattern": "^0x[0-9a-f]*$"},
    date: {"type": "string", "format": "date"},
    datetime: {"type": "string", "format": "date-time"},
    Decimal: {"type": "string"},
    float: {"type": ["number", "string"]},
    int: {"type": ["integer", "string"]},
    str: {"type": "string"},
    timedelta: {"type": "number"},
    UUID: {"type": "string", "format": "uuid"},
}


def _row_of(question: Question) -> Any:
    kind = question.answer
    while get_origin(kind) in {list, Union, UnionType}:
        kind = next(one for one in get_args(kind) if one is not type(None))
    return kind


def example_of(question: Question) -> dict[str, Any]:
    """Return an answer as the description shows it."""
    kind = _row_of(question)
    row = _sample(kind) if is_dataclass(kind) else {"value": _sample(kind)}
    return {"data": [row], "page": {"next": None, "limit": 1}, "freshness": FRESHNESS}


def _sample(kind: Any) -> Any:
    if get_origin(kind) in {Union, UnionType}:
        return _sample(next(one for one in get_args(kind) if one is not type(None)))
    if get_origin(kind) is list:
        return [_sample(get_args(kind)[0])]
    if is_dataclass(kind):
        return {name.removesuffix("_"): _sample(own) for name, own in get_type_hints(kind).items()}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind)).value
    return _EXAMPLES.get(kind)


def schema_of(question: Question) -> dict[str, Any]:
    """Return the schema of its answers: the envelope, with rows as the question declares them."""
    kind = _row_of(question)
    row = _schema(kind) if is_dataclass(kind) else {"type": "object", "properties": {"value": _schema(kind)}, "required": ["value"]}
    rows = {"type": "array", "items": row}
    return {"allOf": [{"$ref": "#/components/schemas/RowsAnswer"}, {"type": "object", "properties": {"data": rows}}]}


def _schema(kind: Any) -> dict[str, Any]:
    if get_origin(kind) in {Union, UnionType}:
        return {"anyOf": [_schema(one) for one in get_args(kind) if one is not type(None)] + [{"type": "null"}]}
    if get_origin(kind) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if is_dataclass(kind):
        own = {name.removesuffix("_"): _schema(hint) for name, hint in get_type_hints(kind).items()}
        return {"type": "object", "properties": own, "required": list(own)}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [one.value for one in kind]}
    return _SCHEMAS.get(kind, {})
