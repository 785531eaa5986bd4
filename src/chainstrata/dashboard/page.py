"""The status page and what it is made of."""

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.params import Depends
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from chainstrata.cli.show import show_bytes, show_count, show_duration
from chainstrata.model.columns import SYSTEM_SCHEMA
from chainstrata.monitor import Status

router: Final = APIRouter(include_in_schema=False)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # All it needs is its own; nothing may frame it or be sent anywhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FILES: Final = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("chainstrata.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"bytes": show_bytes, "count": show_count, "duration": show_duration}
    return environment


_TEMPLATES: Final = _environment()


def add_dashboard(app: FastAPI, dependencies: Sequence[Depends] = ()) -> None:
    """Serve the page at `/`, to those whom the dependencies let in."""
    app.include_router(router, dependencies=list(dependencies))


@router.get("/")
async def get_page(request: Request) -> HTMLResponse:
    status = await request.app.state.platform.status(request.app.state.node())
    return HTMLResponse(_TEMPLATES.get_template("page.html").render(describe(status)), headers=_HEADERS)


@router.get("/static/{name}")
async def get_static(name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    content = files("chainstrata.dashboard").joinpath("static", name).read_bytes()
    return Response(content, media_type=_FILES[name], headers={"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"})


def describe(status: Status) -> dict[str, Any]:
    """Return what the template shows: the status, and its datasets by pack."""
    grouped = {name: list(datasets) for name, datasets in groupby(status.datasets, key=lambda dataset: dataset.pack)}
    largest = max((dataset.size_bytes for dataset in status.datasets), default=0) or 1
    # The platform's own tables are for those who look for them.
    packs = sorted(status.packs, key=lambda pack: pack.name == SYSTEM_SCHEMA)
    return {"status": status, "node": status.node, "packs": packs, "system": SYSTEM_SCHEMA, "datasets": grouped, "largest": largest}
