"""How an error is shown: message and hint on stderr, or one JSON document; never a traceback."""

import json
import sys
import traceback
from types import TracebackType

from chainstrata.errors import ChainStrataError, ConfigError

INTERNAL = "This is a bug in ChainStrata. Run again with --set log.level=debug to see where, and report it."


def show_error(error: ChainStrataError, *, as_json: bool) -> int:
    """Show an error and return the exit code it leads to."""
    if as_json:
        shown: dict[str, object] = dict(error.as_dict())
        if isinstance(error, ConfigError):
            shown["problems"] = list(error.problems)
        sys.stdout.write(json.dumps({"error": shown}, indent=2, ensure_ascii=False) + "\n")
        return error.exit_code
    lines = error.problems if isinstance(error, ConfigError) else (error.message,)
    _write([f"error: {line}" for line in lines], error.hint)
    return error.exit_code


def _write(lines: list[str], hint: str) -> None:
    from rich.console import Console
    from rich.text import Text

    if not sys.stderr.isatty():
        sys.stderr.write("\n".join([*lines, *([f"hint:  {hint}"] if hint else [])]) + "\n")
        return
    console = Console(stderr=True)
    for line in lines:
        console.print(Text.assemble(("error: ", "bold red"), line.removeprefix("error: ")), soft_wrap=True)
    if hint:
        console.print(Text.assemble(("hint:  ", "bold"), hint), soft_wrap=True)


def show_bugs_short(*, as_json: bool, debug: bool) -> None:
    """From now on, show an exception nobody expected as an internal error; with `debug`, with its traceback."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if debug:
            traceback.print_exception(kind, error, trace)
        show_error(InternalError(f"{kind.__name__}: {error}"), as_json=as_json)

    sys.excepthook = hook


class InternalError(ChainStrataError):
    """Something nobody expected."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message, hint=INTERNAL)
