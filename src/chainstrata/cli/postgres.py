"""`chainstrata postgres`: the server, and what it is tuned to."""

from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import output, settings

app = App("postgres", help="PostgreSQL: what the embedded server runs with, and why.")


@app.command("tune")
def show_parameters(
    conf: Annotated[bool, typer.Option("--conf", help="As lines of a postgresql.conf, for a server of your own.")] = False,
) -> None:
    """List the server parameters computed for this machine, each with its reason. Starts nothing."""
    from chainstrata.engines.postgres import plan_parameters

    parameters = plan_parameters(settings())

    def render() -> None:
        if conf:
            for one in parameters:
                output().line(f"# {one.reason}\n{one.name} = {one.quoted}")
        else:
            output().table(["parameter", "value", "reason"], [[one.name, one.value, one.reason] for one in parameters])

    output().show(parameters, render)
