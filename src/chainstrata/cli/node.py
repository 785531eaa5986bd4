"""The commands that stand directly below `chainstrata`: `up`, `status`, `ingest`, `simulate`, `psql`, `version`."""

import platform
import sys
from typing import TYPE_CHECKING, Any

from chainstrata import __version__
from chainstrata.cli.command import App
from chainstrata.cli.ingest import ingest
from chainstrata.cli.invocation import output, settings
from chainstrata.cli.psql import psql
from chainstrata.cli.simulate import simulate
from chainstrata.cli.status import show_status

if TYPE_CHECKING:
    from chainstrata.engines.postgres import Step
    from chainstrata.node.node import Web
    from chainstrata.node.report import Reporter


def register(app: App) -> None:
    """Add the commands that stand directly below `chainstrata`."""
    app.command("up")(up)
    app.command("status")(show_status)
    app.command("ingest")(ingest)
    app.command("simulate")(simulate)
    app.command("psql", context_settings={"ignore_unknown_options": True})(psql)
    app.command("version")(show_version)


async def up() -> None:
    """Start the node: the engines that have no URL, migrations, the API and the status page. Ctrl-C stops it."""
    config = settings()
    reporter: Reporter = JsonReporter() if output().json else TextReporter()
    reporter.begin("start")
    from chainstrata.node.node import Node

    await Node(config, load_web=load_web, reporter=reporter).run()


def load_web() -> "Web":
    """Import the web framework, and return what makes the application."""
    from chainstrata.api import create_app

    return create_app


def show_version() -> None:
    """Print the version of ChainStrata and of the Python it runs on."""
    versions = {"chainstrata": __version__, "python": platform.python_version()}
    output().show(versions, lambda: output().line(f"chainstrata {versions['chainstrata']} (Python {versions['python']})"))


class _Lines:
    """Writes to stdout for as long as somebody reads it: a node does not end because its terminal did."""

    def write(self, text: str) -> None:
        if sys.stdout.closed:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123  # as long as the process


class TextReporter(_Lines):
    """A line for each step: its name, what it found, its time."""

    def __init__(self) -> None:
        self._styled = sys.stdout.isatty()
        self._clear = "\r\033[K" if self._styled else ""

    def begin(self, name: str) -> None:
        if self._styled:
            self.write(f"{self._clear}{name:<11} …")

    def done(self, step: "Step") -> None:
        time = f"{step.seconds:.2f} s"
        if self._styled:
            self.write(f"{self._clear}{step.name:<11} {step.detail}  \033[2m{time}\033[0m\n")
        else:
            self.write(f"{step.name:<11} {step.detail}  ({time})\n")

    def ready(self, address: str, seconds: float) -> None:
        shown = f"\033[1;32m{address}\033[0m" if self._styled else address
        self.write(f"{self._clear}ready in {seconds:.2f} s, Ctrl-C stops: {shown}\n")

    def stopping(self, *, hurry: bool) -> None:
        self.write(f"{self._clear}{'stopping at once' if hurry else 'stopping; again to stop at once'}\n")


class JsonReporter(_Lines):
    """A JSON object on a line for each step."""

    def begin(self, name: str) -> None:
        """A step that begins has nothing to tell yet."""

    def done(self, step: "Step") -> None:
        self._event("step", name=step.name, detail=step.detail, seconds=round(step.seconds, 3))

    def ready(self, address: str, seconds: float) -> None:
        self._event("ready", address=address, seconds=round(seconds, 3))

    def stopping(self, *, hurry: bool) -> None:
        self._event("stopping", hurry=hurry)

    def _event(self, event: str, **details: Any) -> None:
        import json

        self.write(json.dumps({"event": event, **details}) + "\n")
