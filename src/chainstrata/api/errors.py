"""One shape for every error that HTTP answers: ours, a wrong request, an unknown path, a bug."""

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from chainstrata.api.access import record_refused
from chainstrata.api.requests import request_id
from chainstrata.errors import ChainStrataError, UsageError

DESCRIBED: Final = "The description of every route is at /api/v1/openapi.json."
LOGGER: Final = logging.getLogger("chainstrata.api")


class ErrorDetail(BaseModel):
    code: str = Field(description="Stable name of the error, for programs.")
    message: str = Field(description="What went wrong, with names and values.")
    hint: str = Field(description="What to do about it; may be empty.")
    problems: list[str] | None = Field(default=None, description="Every problem of a wrong request, where there are several.")


class ErrorAnswer(BaseModel):
    """What every error answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "code": "unknown_name",
                    "message": "unknown dataset 'validators.snapshot'",
                    "hint": "Did you mean validators.snapshots?",
                }
            }
        }
    )

    error: ErrorDetail


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of its errors."""
    return {status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase} for status in statuses}


def error_answer(
    status: int, code: str, message: str, hint: str = "", *, problems: Sequence[str] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the one shape of an error."""
    detail: dict[str, Any] = {"code": code, "message": message, "hint": hint}
    if problems:
        detail["problems"] = list(problems)
    return JSONResponse({"error": detail}, status, headers)


class InvalidRequest(UsageError):
    """A request whose parameters or body are not what the route takes; `problems` names every one."""

    code = "invalid_request"
    http_status = 422

    def __init__(self, problems: Sequence[str]) -> None:
        message = problems[0] if len(problems) == 1 else f"{len(problems)} problems, first {problems[0]}"
        super().__init__(message, hint=DESCRIBED)


class BodyUnreadable(UsageError):
    """A body that is not the JSON it is said to be."""

    code = "body_unreadable"

    def __init__(self) -> None:
        super().__init__("the body cannot be read as JSON", hint=DESCRIBED)


class NothingThere(UsageError):
    """A path that no route has."""

    code = "not_found"
    http_status = 404

    def __init__(self, path: str) -> None:
        super().__init__(f"nothing is at {path}", hint=DESCRIBED)


class WrongMethod(UsageError):
    """A path with routes, but none for this method."""

    code = "method_not_allowed"
    http_status = 405

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{path} takes no {method}", hint=f"It takes {allowed}." if allowed else DESCRIBED)


def handle_errors(app: FastAPI) -> None:
    """Make every error of the application answer in the one shape."""
    app.add_exception_handler(ChainStrataError, _ours)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChainStrataError)  # noqa: S101  # registered for it alone
    return _answer(error, headers=_headers_of(error, page=not request.url.path.startswith("/api/")))


def _headers_of(error: ChainStrataError, *, page: bool) -> dict[str, str]:
    """Return what an error says in headers: when to try again, how to say who one is."""
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        # A browser asks its user for the key, as a password, for pages only.
        return {"WWW-Authenticate": 'Basic realm="ChainStrata: any name, a key as password", charset="UTF-8"' if page else "Bearer"}
    if error.http_status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        return {"Retry-After": str(max(1, math.ceil(getattr(error, "retry_after", 1))))}
    if error.http_status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        # Who is still sending may stop: nothing more is answered here.
        return {"Connection": "close"}
    return {}


def _answer(error: ChainStrataError, *, problems: Sequence[str] = (), headers: dict[str, str] | None = None) -> JSONResponse:
    return error_answer(error.http_status, error.code, error.message, error.hint, problems=problems, headers=headers)


async def _wrong_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    refusal = InvalidRequest(problems)
    # Nobody is there if the body was not even JSON: that shows before anybody is asked who they are.
    if caller := getattr(request.state, "caller", None):
        await record_refused(request, caller, refusal)
    return _answer(refusal, problems=problems)


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _answer(NothingThere(request.url.path), headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _answer(WrongMethod(request.method, request.url.path, headers.get("allow") or headers.get("Allow", "")), headers=headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return _answer(BodyUnreadable(), headers=headers)
    detail = str(error.detail)
    return error_answer(error.status_code, "http", detail[:1].lower() + detail[1:], headers=headers)


async def _bug(request: Request, error: Exception) -> Response:
    LOGGER.error("request %s %s %s failed: %r", request_id(), request.method, request.url.path, error)
    message = "something went wrong that should not have"
    return error_answer(500, "internal", message, f"This is a bug in ChainStrata; the node's log has it under request {request_id()}.")
