"""`chainstrata pack`: the packs that are installed, and the beginning of one of your own."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import output

app = App("pack", help="Packs: what is installed, and one of your own.")


@app.command("list")
def list_packs() -> None:
    """Show the installed packs, each with where it comes from."""
    from chainstrata.packs import ENTRY_POINT_GROUP, load_catalog

    origins = {point.name: point.dist for point in entry_points(group=ENTRY_POINT_GROUP)}
    found = [
        {
            "pack": pack.name,
            "datasets": len(pack.datasets),
            "requires": [*pack.requires],
            "from": f"{origin.name} {origin.version}" if (origin := origins.get(pack.name)) else pack.package,
            "doc": pack.doc,
        }
        for pack in load_catalog().packs
    ]

    def render() -> None:
        rows = [[item["pack"], item["datasets"], item["from"], item["doc"]] for item in found]
        output().table(["pack", "datasets", "from", "what it is"], rows, right=["datasets"])

    output().show(found, render)


@app.command("check")
def check_packs(packs: Annotated[list[str] | None, typer.Argument(help="Packs. Default: every installed one.")] = None) -> None:
    """Load packs as the node does, and say what is wrong with their declarations, SQL files and samples. No database is needed."""
    from chainstrata.packs import load_catalog
    from chainstrata.packs.inspection import inspect_pack

    catalog = load_catalog(packs or [])
    found = [inspect_pack(catalog, pack) for pack in catalog.packs if not packs or pack.name in packs]

    def render() -> None:
        head = ["pack", "datasets", "roll-ups", "SQL objects", "revisions", "sample rows"]
        rows = [[one.pack, one.datasets, one.rollups, one.sql_objects, one.revisions, one.sample_rows] for one in found]
        output().table(head, rows, right=head[1:])

    output().show(found, render)


@app.command("new")
def new_pack(
    name: Annotated[str, typer.Argument(help="Name of the pack and of its schema, as cosmos or my_chain.")],
    directory: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Where to write it. Default: a new directory of that name.")
    ] = None,
) -> None:
    """Write a project with a pack of your own: tables, first migration, sample data, test. It migrates and passes as it is."""
    from chainstrata.packs.new import write_pack

    place = (directory or Path(name)).absolute()
    written = write_pack(name, place)

    def render() -> None:
        for path in written:
            output().line(str(path.relative_to(place)))
        output().line(f"\nNext:  cd {place}\n       pip install -e '.[test]'\n       chainstrata migrate up\n       pytest")

    output().show({"pack": name, "directory": str(place), "files": [str(path) for path in written]}, render)
