"""`App`: a Typer group whose commands may be coroutine functions and all take the same global flags."""

import asyncio
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from chainstrata.cli.invocation import INVOCATION, complete_assignment

F = TypeVar("F", bound=Callable[..., Any])
GLOBAL = "Every command"

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file. Default: the nearest chainstrata.toml.", rich_help_panel=GLOBAL),
]
Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIRECTORY", help="Directory that holds everything the node keeps.", rich_help_panel=GLOBAL),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting, for this run. The flag of a setting does the same: --node-port 8700.",
        autocompletion=complete_assignment,
        rich_help_panel=GLOBAL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.", rich_help_panel=GLOBAL)]

_SHARED = {
    "global_config": (ConfigFile, None),
    "global_home": (Home, None),
    "global_set": (Assignments, None),
    "global_json": (Json, False),
}


class App(typer.Typer):
    """A group of commands. Without a subcommand it shows its help."""

    def __init__(self, name: str, *, help: str, completion: bool = False) -> None:  # noqa: A002
        super().__init__(name=name, help=help, no_args_is_help=True, add_completion=completion, pretty_exceptions_enable=False)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Register a function, or a coroutine function, as a command."""
        register = super().command(name, **options)

        def decorate(function: F) -> F:
            register(with_global_flags(function))
            return function

        return decorate


def with_global_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the global flags added to its own, run to its end if it is a coroutine function."""

    @wraps(function)
    def run(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in _SHARED}
        INVOCATION.get().take(
            config=shared["global_config"],
            home=shared["global_home"],
            set_=shared["global_set"] or [],
            json=shared["global_json"],
        )
        result = function(**given)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.parameters.values()]
    run.__signature__ = own.replace(parameters=[*named, *added])  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*named, *added]}
    return run
