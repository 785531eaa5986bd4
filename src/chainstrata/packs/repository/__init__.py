"""The access layer: rows of a pack's tables as frozen dataclasses, in and out, and its questions by name.

    page = await platform.validators.snapshots.page(validator_index=100_007, newest_first=True)

A `Repository` holds a `Table` for every dataset and `Buckets` for every roll-up. Both read through a `Selection`, which is put together
step by step and runs when it is asked for rows, pages, a stream or Arrow. Everything takes part in a caller's transaction through
`using`. Writes are plain SQL, so the statement triggers keep roll-ups true; many rows at once go through `platform.ingest`. What the
columnar engine answers is asked of a `ColumnarRepository`.
"""

from chainstrata.packs.repository.columnar import ColumnarRepository
from chainstrata.packs.repository.errors import RowNotFound
from chainstrata.packs.repository.filling import CannotFill, Filling
from chainstrata.packs.repository.loading import columnar_class, repository_class
from chainstrata.packs.repository.paging import Page
from chainstrata.packs.repository.questions import AS_OF, Question, question, questions_of
from chainstrata.packs.repository.reading import Bucket, BucketReader, Buckets, Readable
from chainstrata.packs.repository.repository import Repository
from chainstrata.packs.repository.selection import Selection
from chainstrata.packs.repository.table import Batch, Filled, Table

__all__ = [
    "AS_OF",
    "Batch",
    "Bucket",
    "BucketReader",
    "Buckets",
    "CannotFill",
    "ColumnarRepository",
    "Filled",
    "Filling",
    "Page",
    "Question",
    "Readable",
    "Repository",
    "RowNotFound",
    "Selection",
    "Table",
    "columnar_class",
    "question",
    "questions_of",
    "repository_class",
]
