"""Backfill: past blocks, or past time, fetched in chunks by several workers, each chunk once.

A pack declares kinds of backfill, each with a function that is given a chunk and ingests it. `Backfills` starts jobs and lists,
pauses, resumes, cancels and retries them; `BackfillWorkers` does the work. Whatever ends a worker, its chunks are taken up again.
"""

from chainstrata.backfill.errors import BackfillError, BackfillRefused, BackfillsMissing, ChunkLost, UnknownBackfill
from chainstrata.backfill.model import ChunkCounts, Progress, WorkedChunk
from chainstrata.backfill.planner import MOST_CHUNKS, split
from chainstrata.backfill.runner import Backfills
from chainstrata.backfill.worker import BackfillWorkers, WorkerOptions

__all__ = [
    "MOST_CHUNKS",
    "BackfillError",
    "BackfillRefused",
    "BackfillWorkers",
    "Backfills",
    "BackfillsMissing",
    "ChunkCounts",
    "ChunkLost",
    "Progress",
    "UnknownBackfill",
    "WorkedChunk",
    "WorkerOptions",
    "split",
]
