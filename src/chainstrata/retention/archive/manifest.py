"""What stands beside the files of an archive, so that they can be understood and checked without the database."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from chainstrata.retention.errors import ArchiveUnreadable

FORMAT: Final = "chainstrata-archive/1"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One Parquet file."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column: its form (`columns.describe`), and what checks its values. `total` is what the digest module calls so."""

    form: dict[str, Any]
    count: int
    total: int | None
    checksum: str

    @property
    def name(self) -> str:
        return str(self.form["name"])


@dataclass(frozen=True, slots=True)
class Manifest:
    """An archive as a whole. Times are ISO 8601 in UTC; `first_key` and `last_key` are in the order of `sorted_by`."""

    dataset: str
    table: str
    source: str
    time_column: str
    key: tuple[str, ...]
    sorted_by: tuple[str, ...]
    lower_bound: str
    upper_bound: str
    schema_version: str
    rows: int
    first_time: str | None
    last_time: str | None
    first_key: tuple[str, ...]
    last_key: tuple[str, ...]
    columns: tuple[ColumnFacts, ...]
    files: tuple[ArchivedFile, ...]
    written_at: str
    written_by: str
    server: str
    format: str = FORMAT
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def to_bytes(self) -> bytes:
        """Return the manifest as it is stored. Totals are text: JSON numbers of this size do not survive every reader."""
        plain = asdict(self)
        for column in plain["columns"]:
            column["total"] = None if column["total"] is None else str(column["total"])
        return (json.dumps({"format": plain.pop("format"), **plain}, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, path: str) -> "Manifest":
        """Return the manifest that was stored, or raise `ArchiveUnreadable`."""
        try:
            plain = json.loads(content)
            if plain["format"] != FORMAT:
                raise ArchiveUnreadable(path, f"has format {plain['format']!r}, this release reads {FORMAT!r}")
            columns = (
                ColumnFacts(one["form"], one["count"], None if one["total"] is None else int(one["total"]), one["checksum"])
                for one in plain["columns"]
            )
            files = (ArchivedFile(**one) for one in plain["files"])
            tuples = {name: tuple(plain[name]) for name in ("key", "sorted_by", "first_key", "last_key")}
            return cls(**{**plain, **tuples, "columns": tuple(columns), "files": tuple(files)})
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveUnreadable(path, f"is not a manifest: {error}") from error


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def show(instant: datetime) -> str:
    """Return an instant as manifests write it."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
