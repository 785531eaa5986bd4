"""Questions by name: the methods of a repository that anybody may ask, with what the API and the documentation need of each."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, getdoc, signature
from typing import Any, Final, ParamSpec, TypeVar, get_type_hints

P = ParamSpec("P")
T = TypeVar("T")
_MARK: Final = "__question__"
AS_OF: Final = "as_of"
"""Argument of a question that itself knows what it means to be asked as of a time; nothing about later may be in its answer."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a question. `default` is Parameter.empty where it has to be given."""

    name: str
    kind: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is Parameter.empty


@dataclass(frozen=True, slots=True)
class Question:
    """A method of a repository. `example` are arguments that work on the sample data.

    `of`: the series it reads, so that an answer can say how far that goes. `upto`: the argument that leaves out all that is later, so that
    it can be asked as of a time: `as_of` itself where it has one. Without one it tells how things are now, and `now` says why nobody can
    tell how they were.
    """

    name: str
    doc: str
    arguments: tuple[Argument, ...]
    answer: Any
    example: Mapping[str, Any]
    writes: bool
    of: str = ""
    upto: str = ""
    now: str = ""

    async def ask(self, repository: Any, /, **arguments: Any) -> Any:
        """Ask it of a repository."""
        return await getattr(repository, self.name)(**arguments)


def question(
    *, writes: bool = False, of: str = "", upto: str = "", now: str = "", **example: Any
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Mark a method as a question. The other keywords are an example that works on the sample data."""

    def mark(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        setattr(method, _MARK, (example, writes, of, upto, now))
        return method

    return mark


def questions_of(repository: type[Any]) -> list[Question]:
    """Return the questions of a repository, by name."""
    found = []
    for name in sorted(dir(repository)):
        method = getattr(repository, name)
        if hasattr(method, _MARK):
            example, writes, of, upto, now = getattr(method, _MARK)
            hints = get_type_hints(method)
            given = [one for one in signature(method).parameters.values() if one.name != "self"]
            arguments = tuple(Argument(one.name, hints[one.name], one.default) for one in given)
            by = AS_OF if AS_OF in hints else upto
            found.append(Question(name, getdoc(method) or "", arguments, hints["return"], example, writes, of, by, now))
    return found
