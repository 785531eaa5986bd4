"""One shape for every error that HTTP answers: ours, a wrong request, an unknown path, a bug."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from chainstrata.api.requests import request_id
from chainstrata.errors import ChainStrataError

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


def handle_errors(app: FastAPI) -> None:
    """Make every error of the application answer in the one shape."""
    app.add_exception_handler(ChainStrataError, _ours)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChainStrataError)  # noqa: S101  # registered for it alone
    headers = {"Retry-After": "1"} if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return error_answer(error.http_status, error.code, error.message, error.hint, headers=headers)


async def _wrong_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return error_answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid_request",
        problems[0] if len(problems) == 1 else f"{len(problems)} problems, first {problems[0]}",
        "The description of every route is at /api/v1/openapi.json.",
        problems=problems,
    )


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_answer(
            404, "not_found", f"nothing is at {request.url.path}", "The description of every route is at /api/v1/openapi.json."
        )
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_").replace("-", "_")
    message = str(error.detail)
    return error_answer(error.status_code, code, message[:1].lower() + message[1:], headers=dict(error.headers or {}))


async def _bug(request: Request, error: Exception) -> Response:
    LOGGER.error("request %s %s %s failed: %r", request_id(), request.method, request.url.path, error)
    message = "something went wrong that should not have"
    return error_answer(500, "internal", message, f"This is a bug in ChainStrata; the node's log has it under request {request_id()}.")
