"""The whole command line: every group is named here once."""

import os
import sys

import typer
import typer.main

from chainstrata.cli.command import App, Assignments, ConfigFile, Home, Json
from chainstrata.cli.failure import show_bugs_short, show_error
from chainstrata.cli.invocation import INVOCATION, Invocation, expand_setting_flags
from chainstrata.errors import ChainStrataError, UsageError

INTERRUPTED = 130


def build() -> App:
    """Return the command line with all groups. Their modules import what they run only when they run."""
    from chainstrata.cli import (
        archive,
        cdc,
        columnar,
        config,
        jobs,
        keys,
        migrate,
        node,
        pack,
        partitions,
        postgres,
        quarantine,
        retention,
        rollups,
        sample,
        spool,
        upkeep,
    )

    app = App(
        "chainstrata", help="The data tier of a blockchain product: declare a dataset once, everything it needs follows.", completion=True
    )
    app.callback()(_global_flags)
    node.register(app)
    cdc.register(app)
    for group in (
        archive.app,
        cdc.app,
        columnar.app,
        config.app,
        jobs.app,
        keys.app,
        migrate.app,
        pack.app,
        partitions.app,
        postgres.app,
        quarantine.app,
        retention.app,
        rollups.app,
        sample.app,
        spool.app,
        upkeep.app,
    ):
        app.add_typer(group)
    return app


def _global_flags(
    global_config: ConfigFile = None,
    global_home: Home = None,
    global_set: Assignments = None,
    global_json: Json = False,
) -> None:
    INVOCATION.get().take(config=global_config, home=global_home, set_=global_set or [], json=global_json)


def run(arguments: list[str]) -> int:
    """Run the command line. Errors become a message and an exit code; an interrupt or a closed pipe ends it quietly."""
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    show_bugs_short(as_json=as_json, debug="log.level=debug" in arguments)
    INVOCATION.set(Invocation())
    command = typer.main.get_command(build())
    try:
        code = command.main(args=expand_setting_flags(arguments), prog_name="chainstrata", standalone_mode=False)
        sys.stdout.flush()
    except ChainStrataError as error:
        return show_error(error, as_json=as_json)
    except typer.TyperException as error:
        usage = _usage(error)
        return show_error(usage, as_json=as_json) if usage.message else usage.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException) -> UsageError:
    """Return a wrong call of the command line as one of our errors; without a message where help was shown instead."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "chainstrata"
    shown = error.format_message() if hasattr(error, "format_message") else str(error)
    message = shown[:1].lower() + shown[1:].rstrip(".")
    return UsageError(message, hint=f"`{path} --help` shows what it takes.")
