"""What a node tells while it starts and stops."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from chainstrata.engines.postgres import Step


class Reporter(Protocol):
    """Shows what a node does, a line for each step."""

    def begin(self, name: str) -> None:
        """A step begins."""
        ...

    def done(self, step: Step) -> None:
        """A step is done, and took its time."""
        ...

    def ready(self, address: str, seconds: float) -> None:
        """The node serves; starting took so many seconds in all."""
        ...

    def stopping(self, *, hurry: bool) -> None:
        """The node was asked to stop, or, with `hurry`, asked again."""
        ...


class Detail:
    """What a step found out, set while it runs."""

    text = ""


@contextmanager
def reported(reporter: Reporter, name: str) -> Iterator[Detail]:
    """Report the block as a step; one that raises is not reported as done."""
    reporter.begin(name)
    began = monotonic()
    detail = Detail()
    yield detail
    reporter.done(Step(name, detail.text, monotonic() - began))
