"""Metrics, as Prometheus reads them."""

from typing import Final

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse

from chainstrata.access import Role
from chainstrata.api.access import TheNode, ThePlatform, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import METRICS
from chainstrata.monitor.metrics import CONTENT_TYPE

router: Final = APIRouter(tags=["status"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={**documented(401, 403, 429, 500), 200: {"content": {"text/plain": {"example": METRICS}}}},
    response_class=PlainTextResponse,
    dependencies=[Depends(guard(Role.READ))],
)
async def get_metrics(platform: ThePlatform, node: TheNode) -> Response:
    """Of this process, and of what PostgreSQL knows of all of them: mirrors, jobs, roll-ups. [Metrics](metrics.md) lists them.

    The answer is 200 also while PostgreSQL is away: `chainstrata_postgres_up` tells.
    """
    figures = await platform.metrics(node)
    return Response(figures.render(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
