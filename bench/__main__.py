"""`python -m bench NAME [--quick] [--json] [--record]`, `python -m bench --list`."""

import argparse
import asyncio
import contextlib
import sys

from rich.console import Console

from bench import harness, report


def main() -> int:
    options = _parse()
    if options.list:
        for name in harness.list_names():
            print(f"{name}: {harness.load(name).doc}")
        return 0
    progress = Console(stderr=True)
    try:
        benchmark = harness.load(options.name)
        # Whatever a case prints goes the way of the progress: standard output holds the result alone.
        with contextlib.redirect_stdout(sys.stderr):
            result = asyncio.run(harness.measure(options.name, benchmark, quick=options.quick, progress=progress.print))
    except LookupError as error:
        progress.print(str(error.args[0]))
        return 2
    if options.record and not result.faults:
        report.record(result)
    if options.json:
        print(report.as_json(result))
    else:
        Console().print(report.as_table(result))
        for name, reason in result.skipped.items():
            print(f"left out: {name}, {reason}")
    for fault in result.faults:
        progress.print(f"failed, and not recorded: {fault}" if options.record else f"failed: {fault}")
    return 1 if result.faults else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run the cases of one benchmark side by side.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the benchmark to run")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it works, not to quote")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--record", action="store_true", help="write the result into docs/reference/benchmarks.md")
    options = parser.parse_args()
    if not options.list and not options.name:
        parser.error(f"which one? {', '.join(harness.list_names())}")
    if options.record and options.quick:
        parser.error("--quick results are not worth recording")
    return options


if __name__ == "__main__":
    sys.exit(main())
