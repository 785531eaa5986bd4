"""Reads archives back: to check them against what they say and what the database said, and to answer questions."""

import decimal
import hashlib
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from chainstrata.engines.storage import Storage
from chainstrata.engines.storage.errors import StorageError
from chainstrata.retention.archive.columns import ArchivedColumn, Encoding, SourceColumn
from chainstrata.retention.archive.digest import ColumnDigest
from chainstrata.retention.archive.manifest import MANIFEST, ArchivedFile, Manifest, checksum
from chainstrata.retention.archive.source import Expected
from chainstrata.retention.errors import ArchiveUnreadable

_EXACT = decimal.Context(prec=1000)


def read_manifest(storage: Storage, directory: str, sha256: str | None = None) -> Manifest:
    """Return the manifest of an archive; with `sha256`, only if it is the one that was written."""
    path = f"{directory}/{MANIFEST}"
    content = storage.read(path)
    if sha256 is not None and checksum(content) != sha256:
        raise ArchiveUnreadable(path, f"was changed: its SHA-256 is {checksum(content):.12}…, not {sha256:.12}…")
    return Manifest.from_bytes(content, path)


def read_file(storage: Storage, directory: str, file: ArchivedFile) -> pq.ParquetFile:
    """Return a file, whole and with the checksum it was written with."""
    path = f"{directory}/{file.name}"
    content = storage.read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        size = f"{len(content)} bytes" if len(content) != file.size_bytes else f"SHA-256 {found:.12}…"
        raise ArchiveUnreadable(path, f"was changed: it has {size}, not {file.size_bytes} bytes with SHA-256 {file.sha256:.12}…")
    try:
        return pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise ArchiveUnreadable(path, f"is not a Parquet file: {error}") from error


def read_back(storage: Storage, directory: str, manifest: Manifest) -> list[str]:
    """Read every value of an archive and return what differs from its manifest; nothing when it is whole."""
    digests = [ColumnDigest(_column(facts.form)) for facts in manifest.columns]
    rows = 0
    for file in manifest.files:
        try:
            parquet = read_file(storage, directory, file)
        except (ArchiveUnreadable, StorageError) as error:
            return [error.message]
        for batch in parquet.iter_batches(batch_size=131_072):
            rows += batch.num_rows
            for digest, values in zip(digests, batch.columns, strict=True):
                digest.update(values)
    differences = [] if rows == manifest.rows else [f"{rows} rows read, {manifest.rows} written"]
    for facts, digest in zip(manifest.columns, digests, strict=True):
        if (digest.checksum, digest.count, digest.total) != (facts.checksum, facts.count, facts.total):
            differences.append(f"column {facts.name} reads otherwise than it was written")
    return differences


def compare(manifest: Manifest, expected: Expected) -> list[str]:
    """Return what differs between an archive and what the server counted and summed up on its own.

    Columns that only one side has are left out: the table may have changed since.
    """
    differences = [] if manifest.rows == expected.rows else [f"{manifest.rows} rows archived, the table has {expected.rows}"]
    encodings = {column.source.name: column.encoding for column in expected.columns}
    for facts in manifest.columns:
        if facts.name not in encodings:
            continue
        if facts.count != expected.counts[facts.name]:
            differences.append(f"column {facts.name} has {facts.count} values, the table {expected.counts[facts.name]}")
        total = expected.totals[facts.name]
        if encodings[facts.name] != facts.form["encoding"] or total is None or facts.total is None:
            continue
        if _scaled(total, arrow_type(facts.form["parquet"])) != facts.total:
            differences.append(f"column {facts.name} does not add up to what it does in the table")
    return differences


def _scaled(total: decimal.Decimal, kind: pa.DataType) -> decimal.Decimal:
    """Return a total in the units that digests count in: the last place of a decimal."""
    return total.scaleb(kind.scale, _EXACT) if pa.types.is_decimal(kind) else total


def read_batches(storage: Storage, directory: str, manifest: Manifest, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an archive in their order; each file is checked before it is used."""
    for file in manifest.files:
        yield from read_file(storage, directory, file).iter_batches(batch_size=65_536, columns=columns)


def _column(form: Mapping[str, object]) -> ArchivedColumn:
    digits, scale = form["digits"], form["scale"]
    source = SourceColumn(
        str(form["name"]),
        0,
        str(form["base_type"]),
        str(form["type"]),
        digits if isinstance(digits, int) else None,
        scale if isinstance(scale, int) else None,
        bool(form["generated"]),
    )
    return ArchivedColumn(source, Encoding(str(form["encoding"])), arrow_type(str(form["parquet"])))


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type a manifest names."""
    if name.startswith("decimal"):
        kind, _, rest = name.partition("(")
        digits, scale = (int(part) for part in rest.rstrip(")").split(","))
        return pa.decimal128(digits, scale) if kind == "decimal128" else pa.decimal256(digits, scale)
    return _TYPES[name]


_TYPES = {
    str(kind): kind
    for kind in (
        pa.string(),
        pa.bool_(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.date32(),
        pa.timestamp("us"),
        pa.timestamp("us", tz="UTC"),
    )
}
