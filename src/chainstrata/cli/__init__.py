"""The command `chainstrata`: parses, calls one public function, shows what it returned. No SQL, no policy.

A group of commands is a module here that makes an `App` and is named once in `tree.py`:

    app = App("partitions", help="Partitions: what is there and what is due.")

    @app.command("apply")
    async def apply_partitions(dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the steps.")] = False) -> None:
        \"\"\"Create the partitions that are due.\"\"\"
        from chainstrata import partitions                       # here, so that --help stays quick

        async with open_platform() as platform:
            steps = await partitions.apply(platform.database, platform.catalog, dry_run=dry_run)
        output().show(steps, lambda: output().table(["step"], [[step.describe()] for step in steps]))

A command may be a coroutine function. Every command also takes `--config`, `--home`, `--set` and `--json`, and every setting
as a flag of its own; `output()` and `settings()` give what they amount to. A `ChainStrataError` may simply be raised:
`main` shows it and exits.
"""

import gc
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # What is imported stays. At Python's own 700 new objects, looking for garbage in it takes a fifth of each start.
    gc.set_threshold(100_000)
    from chainstrata.cli.tree import run

    return run(list(sys.argv[1:] if arguments is None else arguments))
