"""A page of the questions that each pack's repository answers: from Python, and over HTTP."""

from collections.abc import Iterable, Iterator
from inspect import Parameter
from typing import Any, get_args, get_origin

from chainstrata.packs import load_catalog
from chainstrata.packs.repository import Question, columnar_class, questions_of, repository_class
from chainstrata.query import why_no_history
from tools.docs.page import Page, table

INTRODUCTION = """# Queries

What the repositories of the packs answer. Each is a method, as `platform.validators.unresolved_alerts(severity="warning")`,
and a route, as `GET /api/v1/validators/unresolved_alerts?severity=warning`, with the same parameters.
[How to read data](../howto/read-data.md) shows them at work, and what every table offers besides.

Over HTTP each takes `as_of` too: nothing that is about later is in the answer. Those about how things are now refuse it, for the reason
under *Not as of a time*.
"""

_HEAD = ("query", "parameters", "answer", "what it tells")


def pages() -> Iterable[Page]:
    """Yield the page of all packs that come with the product."""
    yield Page("reference/queries.md", "\n\n".join([INTRODUCTION.strip(), *_sections()]))


def _sections() -> Iterator[str]:
    for pack in load_catalog().packs:
        found = questions_of(repository_class(pack))
        if pack.package.startswith("chainstrata.packs.") and found:
            yield f"## {pack.name}"
            yield table(_HEAD, (_row(one) for one in found))
        columnar = columnar_class(pack)
        if columnar is not None and pack.package.startswith("chainstrata.packs."):
            yield f"### {pack.name}, by the columnar engine"
            yield f"Asked as `await (await platform.columnar_repository({pack.name!r})).{questions_of(columnar)[0].name}(…)`."
            yield table(_HEAD, (_row(one) for one in questions_of(columnar)))
    yield "## Not as of a time"
    yield from _refused()


def _refused() -> Iterator[str]:
    catalog = load_catalog()
    yield "Questions that refuse `as_of` with `as_of_not_kept`:"
    found = [
        (f"`{pack.name}.{one.name}`", one.now or "it reads what is written over")
        for pack in catalog.packs
        if pack.package.startswith("chainstrata.packs.")
        for one in questions_of(repository_class(pack))
        if not one.upto and not one.writes
    ]
    yield table(("question", "why"), found)
    yield "Datasets whose `rows` and `latest` do:"
    yield table(("dataset", "why"), [(f"`{one.full_name}`", why) for one in catalog if (why := why_no_history(one))])


def _row(one: Question) -> tuple[str, str, str, str]:
    arguments = ", ".join(_argument(argument.name, argument.kind, argument.default) for argument in one.arguments)
    return f"`{one.name}`", arguments, f"`{_type(one.answer)}`", " ".join(one.doc.split())


def _argument(name: str, kind: Any, default: Any) -> str:
    if default is Parameter.empty:
        return f"`{name}: {_type(kind)}`"
    return f"`{name}: {_type(kind)} = {default.value if hasattr(default, 'value') else default!r}`"


def _type(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is not None and origin.__name__ in {"list", "Sequence"}:
        return f"{origin.__name__.lower().replace('sequence', 'list')}[{_type(parts[0])}]"
    if parts:
        return " or ".join(_type(part) for part in parts if part is not type(None)) + (" or None" if type(None) in parts else "")
    return str(getattr(kind, "__name__", kind))
