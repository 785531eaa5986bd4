"""`chainstrata up`, `status`, `version`: the node as a whole."""

import platform

from chainstrata import __version__
from chainstrata.cli.command import App
from chainstrata.cli.invocation import output


def register(app: App) -> None:
    """Add the commands that stand directly below `chainstrata`."""
    app.command("version")(show_version)


def show_version() -> None:
    """Print the version of ChainStrata and of the Python it runs on."""
    versions = {"chainstrata": __version__, "python": platform.python_version()}
    output().show(versions, lambda: output().line(f"chainstrata {versions['chainstrata']} (Python {versions['python']})"))
