"""Backfills: the functions behind the commands `jobs backfill`. Nodes do the work."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chainstrata.access import Role
from chainstrata.api.access import ThePlatform, Writer, entry_of, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import BACKFILL, FAILURE, shown
from chainstrata.backfill import Progress
from chainstrata.packs.insights.model import JobStatus

backfills_router: Final = APIRouter(tags=["backfills"])
_READ: Final = [Depends(guard(Role.READ))]
_ERRORS: Final = documented(400, 401, 403, 404, 409, 422, 429, 500, 503)
_SHOWN: Final = {**shown(BACKFILL), **_ERRORS}
_NEVER_KEPT: Final = {"Cache-Control": "no-store"}
Job = Annotated[UUID, Path(description="Identifier of the backfill.")]


class FailureAnswer(BaseModel):
    """A chunk that failed or is to be tried again, and why."""

    start: int
    end: int
    status: str
    attempts: int
    error: str


class BackfillAnswer(BaseModel):
    """A backfill with what failed of it."""

    model_config = ConfigDict(json_schema_extra={"example": {"backfill": BACKFILL, "failures": [FAILURE]}})

    backfill: Progress
    failures: list[FailureAnswer]


class BackfillWish(BaseModel):
    """All positions from `start` up to, not including, `end`: blocks, or seconds since 1970 where the kind is of time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"kind": "blocks", "start": 840000, "end": 850000}})

    kind: str = Field(min_length=1, max_length=50, description="Kind of backfill.")
    start: int = Field(ge=0, le=2**62, description="First position.")
    end: int = Field(ge=0, le=2**62, description="Position to stop before.")
    chunk: int | None = Field(default=None, ge=1, le=2**62, description="Positions of a chunk. Default: as the kind says.")


@backfills_router.get(
    "/backfills", summary="Backfills with how far they are, newest first", responses={**shown([BACKFILL]), **_ERRORS}, dependencies=_READ
)
async def list_backfills(
    platform: ThePlatform,
    response: Response,
    kind: Annotated[str | None, Query(max_length=50, description="Only this kind.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only those of this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 50,
) -> list[Progress]:
    """`current` is the position below which all is done, `expected_at` when it will be done at the rate measured lately."""
    response.headers.update(_NEVER_KEPT)
    return list(await platform.backfills.list(kind=kind, status=status, limit=limit))


@backfills_router.post(
    "/backfills",
    summary="Start a backfill",
    status_code=201,
    responses={201: {"content": {"application/json": {"example": BACKFILL}}}, **_ERRORS},
)
async def start_backfill(platform: ThePlatform, caller: Writer, wish: BackfillWish) -> Progress:
    """409 if one of the kind is under way over some of the same positions."""
    async with platform.audit.witness(entry_of(caller, "backfills.start", wish.kind)) as detail:
        job = await platform.backfills.start(wish.kind, wish.start, wish.end, chunk=wish.chunk, created_by=caller.name)
        detail["job"] = str(job)
    return await platform.backfills.show(job)


@backfills_router.get("/backfills/{job}", summary="How far a backfill is, and why chunks failed", responses=_ERRORS, dependencies=_READ)
async def get_backfill(platform: ThePlatform, job: Job, response: Response) -> BackfillAnswer:
    """With up to twenty of the chunks that failed or are to be tried again."""
    response.headers.update(_NEVER_KEPT)
    failures = [FailureAnswer(**row._asdict()) for row in await platform.backfills.failures(job)]
    return BackfillAnswer(backfill=await platform.backfills.show(job), failures=failures)


@backfills_router.post("/backfills/{job}/pause", summary="Take no further chunks of a backfill", responses=_SHOWN)
async def pause_backfill(platform: ThePlatform, caller: Writer, job: Job) -> Progress:
    """Chunks in hand are finished."""
    async with platform.audit.witness(entry_of(caller, "backfills.pause", str(job))):
        return await platform.backfills.pause(job)


@backfills_router.post("/backfills/{job}/resume", summary="Go on with a backfill", responses=_SHOWN)
async def resume_backfill(platform: ThePlatform, caller: Writer, job: Job) -> Progress:
    """One that is paused or was cancelled."""
    async with platform.audit.witness(entry_of(caller, "backfills.resume", str(job))):
        return await platform.backfills.resume(job)


@backfills_router.post("/backfills/{job}/cancel", summary="End a backfill", responses=_SHOWN)
async def cancel_backfill(platform: ThePlatform, caller: Writer, job: Job) -> Progress:
    """Answers when no worker is at it any more. What is written stays."""
    async with platform.audit.witness(entry_of(caller, "backfills.cancel", str(job))):
        return await platform.backfills.cancel(job)


@backfills_router.post("/backfills/{job}/retry", summary="Try what failed of a backfill again", responses=_SHOWN)
async def retry_backfill(platform: ThePlatform, caller: Writer, job: Job) -> Progress:
    """Its failed chunks, and nothing else. 409 if none failed."""
    async with platform.audit.witness(entry_of(caller, "backfills.retry", str(job))):
        return await platform.backfills.retry(job)
