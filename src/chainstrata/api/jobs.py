"""Jobs, and retention on request: the functions behind the commands `jobs` and `retention run`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chainstrata.access import Role
from chainstrata.api.access import Admin, ThePlatform, entry_of, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import JOB, RETENTION, RETENTION_PLAN, RUN, shown
from chainstrata.jobs import AskedBy, JobStatus, Run

jobs_router: Final = APIRouter(tags=["jobs"])
_READ: Final = [Depends(guard(Role.READ))]
_ERRORS: Final = (401, 403, 422, 429, 500, 503)
_NEVER_KEPT: Final = {"Cache-Control": "no-store"}
Name = Annotated[str, Path(description="Job, as `retention`.", examples=["retention"])]


class Asked(BaseModel):
    """`queued` is false if the job waited for a worker already."""

    model_config = ConfigDict(json_schema_extra={"example": {"job": "retention", "queued": True}})

    job: str
    queued: bool


class RetentionRequest(BaseModel):
    """What to let go of; without names, everything that is due."""

    model_config = ConfigDict(json_schema_extra={"example": {"names": ["prices.minute"], "dry_run": True}})

    names: list[str] = Field(default=[], description="Datasets or roll-ups, by full name.")
    dry_run: bool = Field(default=False, description="Only say what would leave, and why the rest stays.")


@jobs_router.get(
    "/jobs",
    summary="What comes round, when it is due, how it went last",
    responses={**shown([JOB]), **documented(*_ERRORS)},
    dependencies=_READ,
)
async def list_jobs(platform: ThePlatform, response: Response) -> list[JobStatus]:
    """All jobs, by name. `failures` counts the runs in a row that did not end well."""
    response.headers.update(_NEVER_KEPT)
    return await platform.jobs.status()


@jobs_router.get("/jobs/{name}", summary="One job", responses={**shown(JOB), **documented(404, *_ERRORS)}, dependencies=_READ)
async def get_job(platform: ThePlatform, name: Name, response: Response) -> JobStatus:
    """What it is at, when it is due next, and its last run."""
    response.headers.update(_NEVER_KEPT)
    [job] = await platform.jobs.status([name])
    return job


@jobs_router.get(
    "/jobs/{name}/runs",
    summary="The last runs of a job, newest first",
    responses={**shown([RUN]), **documented(404, *_ERRORS)},
    dependencies=_READ,
)
async def list_runs(
    platform: ThePlatform, name: Name, response: Response, limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 20
) -> list[Run]:
    """When they began and ended, what they did, and why they failed. `lost`: the worker ended before the run did."""
    response.headers.update(_NEVER_KEPT)
    return await platform.jobs.runs(name, limit=limit)


@jobs_router.post("/jobs/{name}/run", summary="Have a worker run a job now", status_code=202, responses=documented(404, *_ERRORS))
async def run_job(platform: ThePlatform, caller: Admin, name: Name) -> Asked:
    """The answer does not wait for the run: `/jobs/{name}` tells how it went."""
    async with platform.audit.witness(entry_of(caller, "jobs.run", name)):
        return Asked(job=name, queued=await platform.jobs.ask(name, asked_by=AskedBy.API))


@jobs_router.post(
    "/jobs/{name}/retry", summary="Have a worker run a failed job again", status_code=202, responses=documented(404, 409, *_ERRORS)
)
async def retry_job(platform: ThePlatform, caller: Admin, name: Name) -> Asked:
    """409 if its last run went well."""
    async with platform.audit.witness(entry_of(caller, "jobs.retry", name)):
        await platform.jobs.retry(name, here=False)
    return Asked(job=name, queued=True)


@jobs_router.post(
    "/jobs/{name}/pause", summary="Keep a job from running by schedule", responses={**shown(JOB), **documented(404, *_ERRORS)}
)
async def pause_job(platform: ThePlatform, caller: Admin, name: Name) -> JobStatus:
    """It stays paused over restarts. What runs goes on."""
    async with platform.audit.witness(entry_of(caller, "jobs.pause", name)):
        [job] = await platform.jobs.pause([name])
    return job


@jobs_router.post("/jobs/{name}/resume", summary="Let a job run by schedule again", responses={**shown(JOB), **documented(404, *_ERRORS)})
async def resume_job(platform: ThePlatform, caller: Admin, name: Name) -> JobStatus:
    """It is due at its next time."""
    async with platform.audit.witness(entry_of(caller, "jobs.resume", name)):
        [job] = await platform.jobs.resume([name])
    return job


@jobs_router.post(
    "/monitoring/retention/run",
    summary="Let everything go that is due and not needed",
    responses={**shown(RETENTION, dry_run=RETENTION_PLAN), **documented(400, 404, 409, *_ERRORS)},
)
async def run_retention(platform: ThePlatform, caller: Admin, request: RetentionRequest | None = None) -> dict[str, Any]:
    """What leaves is archived, read back and compared first. The answer waits for the end, and names what stays and why."""
    asked = request or RetentionRequest()
    if asked.dry_run:
        plan = await platform.retention.plan(asked.names)
        return {"dry_run": True, **plan.as_dict()}
    async with platform.audit.witness(entry_of(caller, "retention.run", ", ".join(asked.names))) as detail:
        outcome = await platform.retain(asked.names)
        detail["rows"] = sum(departed.rows for departed in outcome.departed)
    return {"dry_run": False, **outcome.as_dict()}
