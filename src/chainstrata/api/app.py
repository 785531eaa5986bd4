"""The application that a node serves: health, the API under /api/v1, the page."""

from collections.abc import Callable

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from chainstrata import __version__
from chainstrata.access import Role
from chainstrata.api import cdc, filled, ingest, keys, metrics, reads, tails
from chainstrata.api.access import Doorkeeper, guard
from chainstrata.api.backfills import backfills_router
from chainstrata.api.bodies import SmallBodies
from chainstrata.api.errors import handle_errors
from chainstrata.api.heads import Heads
from chainstrata.api.jobs import jobs_router
from chainstrata.api.parameters import refuse_unknown
from chainstrata.api.questions import add_questions
from chainstrata.api.requests import RequestIds
from chainstrata.api.status import health_router, status_router
from chainstrata.dashboard import add_dashboard
from chainstrata.monitor import NodeStatus
from chainstrata.node import Platform

PREFIX = "/api/v1"
DESCRIPTION = """The data tier of a blockchain product.

Every error answers `{"error": {"code", "message", "hint"}}`; `code` is stable. Every answer carries `X-Request-ID`, the
caller's own if it sent one; the node's log names it.

Whatever answers GET answers HEAD with the same headers. A key goes along as `Authorization: Bearer KEY`. On the node's own
machine, in development mode, reading takes none."""


def create_app(platform: Platform, node: Callable[[], NodeStatus]) -> ASGIApp:
    """Return the application as it is served. `node` tells how the node itself is."""
    # Around everything, so that the answer to a bug has its ID too.
    return RequestIds(build_api(platform, node))


def build_api(platform: Platform, node: Callable[[], NodeStatus]) -> FastAPI:
    """Return the application with all its routes."""
    app = FastAPI(
        title="ChainStrata",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        dependencies=[Depends(refuse_unknown)],
    )
    app.state.platform = platform
    app.state.node = node
    app.state.doorkeeper = Doorkeeper(platform.keys, platform.config)
    handle_errors(app)
    app.add_middleware(SmallBodies)
    app.add_middleware(Heads)
    # Looked through in this order at every request, so those that are asked most come first.
    app.include_router(reads.router, prefix=PREFIX)
    app.include_router(filled.router, prefix=PREFIX)
    app.include_router(ingest.router, prefix=PREFIX)
    app.include_router(health_router)
    app.include_router(metrics.router)
    app.include_router(status_router, prefix=PREFIX)
    app.include_router(jobs_router, prefix=PREFIX)
    app.include_router(backfills_router, prefix=PREFIX)
    app.include_router(cdc.router, prefix=PREFIX)
    app.include_router(tails.router, prefix=PREFIX)
    app.include_router(keys.router, prefix=PREFIX)
    add_questions(app, PREFIX, platform.catalog)
    add_dashboard(app, [Depends(guard(Role.READ))])
    return app
