"""`chainstrata config`: what is set, from where, and whether it fits."""

from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import INVOCATION, output, settings
from chainstrata.config import Config, Value, read_config
from chainstrata.errors import ConfigError

app = App("config", help="Settings: what is set, from where, and whether it fits.")


def _read() -> tuple[Config, list[str]]:
    invocation = INVOCATION.get()
    return read_config(invocation.flags, file=invocation.file)


@app.command("show")
def show_config(
    prefix: Annotated[str, typer.Argument(help="Only settings whose name starts with this, as pool.")] = "",
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not at their default.")] = False,
) -> None:
    """List every setting with its value and where that comes from; secrets are masked."""
    config, problems = _read()
    values = [value for value in config.explain() if value.setting.key.startswith(prefix) and not (changed and value.origin == "default")]
    shown = {value.setting.key: _describe(value) for value in values}

    def render() -> None:
        output().table(["setting", "value", "origin"], [[key, item["value"], item["origin"]] for key, item in shown.items()])

    output().show(shown, render)
    if problems:
        output().note(f"{len(problems)} of the given values do not fit and are not shown; `chainstrata config check` names them.")


def _describe(value: Value) -> dict[str, str]:
    return {"value": value.shown(), "origin": value.origin, "applies": value.setting.applies, "doc": value.setting.doc}


@app.command("check")
def check_config() -> None:
    """Say of every problem which setting, what is wrong, what was given and where."""
    config, problems = _read()
    if problems:
        raise ConfigError(problems, hint="`chainstrata config show` lists every setting with its value and origin.")
    given = sum(value.origin != "default" for value in config.explain())
    file = str(config.file or "")
    output().show(
        {"file": file, "given": given, "problems": []},
        lambda: output().line(f"{len(config)} settings fit, {given} of them given ({file or 'no settings file'})"),
    )


@app.command("path")
def show_path() -> None:
    """Print which settings file is read and which directory is the node's home."""
    config = settings()
    paths = {"file": str(config.file or ""), "home": str(config.home)}
    output().show(paths, lambda: output().table(["", "path"], [["file", paths["file"] or "none"], ["home", paths["home"]]]))
