"""`python -m tools.rows` writes `rows.py` of every pack that has a repository: its tables' rows as dataclasses, from the declarations."""

import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import sqlalchemy as sa

from chainstrata.model import Pack
from chainstrata.packs import CORE, load_catalog
from chainstrata.packs.repository.shape import Shape, attribute, class_name, shapes
from tools.tree import ROOT

HEAD = '''"""Rows of the {pack} pack as frozen dataclasses, and its tables.

Written by `make docs` from the declarations; edits are lost. A field of a new row that is None is left to the column's default.
"""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

{model}from chainstrata.packs.repository import Buckets, Repository, Table
'''
SHORT = {
    "Decimal": "decimal.Decimal",
    "UUID": "uuid.UUID",
    "date": "dt.date",
    "datetime": "dt.datetime",
    "time": "dt.time",
    "timedelta": "dt.timedelta",
}


def main() -> None:
    """Bring the files up to date and say what changed."""
    for path, text in build_rows().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def build_rows() -> dict[Path, str]:
    """Return the text of every file by its path."""
    packs = [pack for pack in load_catalog().packs if pack.package.startswith("chainstrata.packs.") and pack.name != CORE]
    return {ROOT / "src" / pack.package.replace(".", "/") / "rows.py": _format("\n".join(_lines(pack))) for pack in packs}


def _format(text: str) -> str:
    """Put the text into the form that `make lint` asks for; imports nobody uses go."""
    for command in (["check", "--fix-only", "--quiet", "--select", "F401,I"], ["format", "--quiet"]):
        arguments = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "src/chainstrata/packs/rows.py", "-"]
        text = subprocess.run(arguments, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout
    return text


def _lines(pack: Pack) -> Iterator[str]:
    series = list(_series(pack))
    kinds = [one.kind for _, _, table in series for one in shapes(table, pack.package)]
    worded = any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds)
    yield HEAD.format(pack=pack.name, model=f"from {pack.package} import model\n" if worded else "")
    for _, rollup, table in series:
        yield from _row(table, pack.package, new=not rollup)
    yield ""
    yield "class Tables(Repository):"
    yield f'    """The tables and roll-ups of the {pack.name} pack."""'
    for dataset, rollup, table in series:
        name, row = f"{dataset}_{rollup}" if rollup else dataset, class_name(table.name)
        kind = f"Buckets[{row}]" if rollup else f"Table[{row}, New{row}]"
        made = f'_bucket_table("{dataset}", "{rollup}", {row})' if rollup else f'_table("{dataset}", {row}, New{row})'
        yield f"\n    @property\n    def {name}(self) -> {kind}:\n        {_doc(table)}\n        return self.{made}"


def _series(pack: Pack) -> Iterator[tuple[str, str, sa.Table]]:
    """Yield every dataset and roll-up: the dataset's name, the roll-up's, the table."""
    for dataset in pack.datasets:
        yield dataset.name, "", dataset.table
        for rollup in dataset.rollups:
            yield dataset.name, rollup.name, pack.rollup_table(dataset, rollup)


def _row(table: sa.Table, package: str, *, new: bool) -> Iterator[str]:
    columns = shapes(table, package)
    name = class_name(table.name)
    yield f"\n\n@dataclass(frozen=True, slots=True)\nclass {name}:\n    {_doc(table)}\n"
    yield from (f"    {attribute(one.name)}: {_hint(one.hint)}" for one in columns)
    if new:
        yield f'\n\n@dataclass(frozen=True, slots=True, kw_only=True)\nclass New{name}:\n    """A row to be written, as `{name}`."""\n'
        yield from (_field(one) for one in columns if one.writable)


def _field(one: Shape) -> str:
    if one.required:
        return f"    {attribute(one.name)}: {_hint(one.kind)}"
    return f"    {attribute(one.name)}: {_hint(one.kind | None) if one.kind is not Any else 'Any'} = None"


def _doc(table: sa.Table) -> str:
    return f'"""{" ".join((table.comment or "One bucket.").split())}"""'


def _hint(hint: Any) -> str:
    if hint is Any:
        return "Any"
    if hint is type(None):
        return "None"
    if getattr(hint, "__origin__", None) is list:
        return f"list[{_hint(get_args(hint)[0])}]"
    if parts := get_args(hint):
        return " | ".join(_hint(part) for part in parts)
    if issubclass(hint, StrEnum):
        return f"model.{hint.__name__}"
    return SHORT.get(hint.__name__, str(hint.__name__))


if __name__ == "__main__":
    main()
