"""Keys and the record of writes, for those who may do everything."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chainstrata.access import Key, Role
from chainstrata.api.access import Admin, ThePlatform, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import AUDIT, KEY
from chainstrata.api.parameters import WRITTEN
from chainstrata.api.requests import request_id

router: Final = APIRouter(tags=["access"])
_NEVER_KEPT: Final = {"Cache-Control": "no-store"}
_ERRORS: Final = documented(401, 403, 422, 429, 503)


class KeyWish(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "collector", "role": "write", "expires_days": 90}})

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", description="Who or what it is for.")
    role: Role = Field(default=Role.READ, description="What it may do.")
    expires_days: int | None = Field(default=None, ge=1, le=36500, description="Days until it ends by itself.")


class KeyAnswer(BaseModel):
    """A key as it is kept."""

    model_config = ConfigDict(json_schema_extra={"example": KEY})

    id: int
    name: str
    prefix: str
    role: Role
    state: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> "KeyAnswer":
        return cls(**{name: getattr(key, name) for name in cls.model_fields})


class KeysAnswer(BaseModel):
    """All keys, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"keys": [KEY]}})

    keys: list[KeyAnswer]


class IssuedAnswer(BaseModel):
    """A key that was just made. `secret` is told this once."""

    model_config = ConfigDict(json_schema_extra={"example": {"key": KEY, "secret": f"{KEY['prefix']}_{'x' * 43}"}})

    key: KeyAnswer
    secret: str


class EntryAnswer(BaseModel):
    """One write that was asked, and what became of it."""

    id: str
    at: datetime
    actor: str
    key_id: int | None
    request: str
    action: str
    object: str
    outcome: str
    detail: dict[str, Any] | None
    settled_at: datetime | None


class AuditAnswer(BaseModel):
    """Writes, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"entries": [AUDIT]}})

    entries: list[EntryAnswer]


@router.get("/keys", summary="Keys", responses=_ERRORS, dependencies=[Depends(guard(Role.ADMIN))])
async def get_keys(platform: ThePlatform, response: Response) -> KeysAnswer:
    """All keys that were made, with what they may do and whether they still work. No key can be read from it."""
    response.headers.update(_NEVER_KEPT)
    return KeysAnswer(keys=[KeyAnswer.of(key) for key in await platform.keys.list_keys()])


@router.post("/keys", summary="Make a key", status_code=201, responses={**_ERRORS, **documented(400, 409)})
async def post_key(platform: ThePlatform, caller: Admin, wish: KeyWish, response: Response) -> IssuedAnswer:
    """Make a key and tell it, this once: only its hash is kept."""
    response.headers.update(_NEVER_KEPT)
    expires = timedelta(days=wish.expires_days) if wish.expires_days is not None else None
    issued = await platform.keys.create(wish.name, wish.role, expires=expires, by=caller, request=request_id())
    return IssuedAnswer(key=KeyAnswer.of(issued.key), secret=issued.secret)


@router.delete("/keys/{key}", summary="Take a key back", responses={**_ERRORS, **documented(404)})
async def delete_key(
    platform: ThePlatform,
    caller: Admin,
    key: Annotated[str, Path(max_length=100, pattern=r"^[^\x00]+$", description="Name or open part of the key.")],
) -> KeyAnswer:
    """Take a key back. Other processes may believe in it for five seconds more."""
    return KeyAnswer.of(await platform.keys.revoke(key, by=caller, request=request_id()))


@router.get("/audit", summary="The record of writes", responses=_ERRORS, dependencies=[Depends(guard(Role.ADMIN))])
async def get_audit(
    platform: ThePlatform,
    response: Response,
    before: Annotated[datetime | None, WRITTEN, Query(description="Only what was asked before this.")] = None,
    actor: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only what this one asked.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries.")] = 100,
) -> AuditAnswer:
    """Who wrote what, when, by which request, and what became of it. The next page is `before` the last one's `at`."""
    response.headers.update(_NEVER_KEPT)
    rows = await platform.audit.list_entries(before=before, actor=actor, most=limit)
    return AuditAnswer(entries=[EntryAnswer(**{**row._asdict(), "id": str(row.id)}) for row in rows])
