"""Health and status."""

from typing import Any, Final

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict

from chainstrata.access import Role
from chainstrata.api.access import TheNode, ThePlatform, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import STATUS
from chainstrata.monitor import Status

health_router: Final = APIRouter(tags=["status"])
status_router: Final = APIRouter(tags=["status"])
_NEVER_KEPT: Final = {"Cache-Control": "no-store"}


class HealthAnswer(BaseModel):
    """`status` is `ok` or `unavailable`, with the reason."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "reason": "", "version": "0.1.0", "uptime_seconds": 86400.5}})

    status: str
    reason: str
    version: str
    uptime_seconds: float


@health_router.get(
    "/health", summary="Whether the node can do its work", responses={503: {"model": HealthAnswer, "description": "It cannot."}}
)
async def get_health(platform: ThePlatform, node: TheNode, response: Response) -> HealthAnswer:
    """One small question to the database, for load balancers and orchestrators."""
    found = await platform.health()
    response.headers.update(_NEVER_KEPT)
    if not found.ok:
        response.status_code = 503
    return HealthAnswer(
        status="ok" if found.ok else "unavailable", reason=found.reason, version=node.version, uptime_seconds=node.uptime_seconds
    )


_EXAMPLE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {"example": STATUS}}}}


@status_router.get(
    "/status",
    summary="How everything is",
    responses={**documented(401, 403, 429, 500), **_EXAMPLE},
    dependencies=[Depends(guard(Role.READ))],
)
async def get_status(platform: ThePlatform, node: TheNode, response: Response) -> Status:
    """Engines, packs and their schemas, datasets with rows and sizes, services, and what is not as it should be.

    Row counts of large tables are estimates, and say so. The answer is 200 also when something is wrong: `healthy` tells.
    """
    response.headers.update(_NEVER_KEPT)
    return await platform.status(node)
