"""The columnar revisions of the packs: their files, read and written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from chainstrata.migrate.columnar.model import ColumnarRevision
from chainstrata.migrate.errors import RevisionUnusable
from chainstrata.migrate.scripts import checksum
from chainstrata.model import Catalog, Pack
from chainstrata.model.columnar import Change

FOLDER: Final = "columnar"
_FILE: Final = re.compile(r"(\d{4})_\w+\.py\Z")
_WIDTH: Final = 130


def columnar_folder(pack: Pack) -> Path:
    """Return where the columnar revisions of a pack are, in its own package; the folder may not be there yet."""
    return Path(str(files(pack.package))) / FOLDER


def load_revisions(catalog: Catalog, folders: Mapping[str, Path] | None = None) -> dict[str, list[ColumnarRevision]]:
    """Return the revisions of every pack, oldest first. `folders` names other places than a pack's own."""
    places = {pack.name: columnar_folder(pack) for pack in catalog.packs} | dict(folders or {})
    return {name: [_load(name, path) for path in _list(folder)] for name, folder in places.items()}


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))
    for number, path in enumerate(found, 1):
        if int(path.name[:4]) != number:
            raise RevisionUnusable(
                f"columnar revision {path}: number {number:04d} is expected", hint="Within a pack revisions form one line."
            )
    return found


def _load(pack: str, path: Path) -> ColumnarRevision:
    name = revision_name(pack, int(path.name[:4]))
    spec = spec_from_file_location(f"chainstrata_columnar_{name}", path)
    if spec is None or spec.loader is None:
        raise RevisionUnusable(f"columnar revision {path} cannot be loaded")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        changes: Sequence[Change] = tuple(module.CHANGES)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise RevisionUnusable(f"columnar revision {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return ColumnarRevision(name, pack, (module.__doc__ or "").strip().rstrip("."), changes, checksum(path), path)


def revision_name(pack: str, number: int) -> str:
    return f"{pack}_columnar_{number:04d}"


def write_revision(message: str, changes: Sequence[Change]) -> str:
    """Return the text of a revision."""
    names = sorted({name for change in changes for name in _names(change)})
    listed = "".join(f"    {name},\n" for name in names)
    steps = "".join(f"    {_text(change, 4)},\n" for change in changes)
    return f'"""{message}."""\n\nfrom chainstrata.model.columnar import (\n{listed})\n\nCHANGES = [\n{steps}]\n'


def _names(value: Any) -> Iterator[str]:
    if is_dataclass(value):
        yield type(value).__name__
        for one in fields(value):
            yield from _names(getattr(value, one.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _names(item)


def _text(value: Any, indent: int) -> str:
    """Return a declaration as Python, in one line where it fits; fields that are as they would be anyway are left out."""
    flat = _flat(value)
    if len(flat) + indent <= _WIDTH:
        return flat
    inner = " " * (indent + 4)
    if is_dataclass(value):
        parts = [f"{inner}{name}={_text(item, indent + 4)},\n" for name, item in _given(value)]
        return f"{type(value).__name__}(\n{''.join(parts)}{' ' * indent})"
    if isinstance(value, tuple | list):
        return "[\n" + "".join(f"{inner}{_text(item, indent + 4)},\n" for item in value) + " " * indent + "]"
    return flat


def _flat(value: Any) -> str:
    if is_dataclass(value):
        return f"{type(value).__name__}({', '.join(f'{name}={_flat(item)}' for name, item in _given(value))})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_flat, value))}]"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    plain = repr(text)
    return '"' + plain[1:-1].replace("\\'", "'").replace('"', '\\"') + '"' if plain[0] == "'" else plain


def _given(value: Any) -> list[tuple[str, Any]]:
    from dataclasses import MISSING

    found = []
    for one in fields(value):
        item = getattr(value, one.name)
        default = one.default if one.default is not MISSING else one.default_factory() if one.default_factory is not MISSING else MISSING
        if default is MISSING or item != default:
            found.append((one.name, item))
    return found
