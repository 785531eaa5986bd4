"""Mirrors: the functions behind the commands `cdc` and `reconcile`."""

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chainstrata.access import Role
from chainstrata.api.access import Admin, ThePlatform, entry_of, guard
from chainstrata.api.errors import documented
from chainstrata.api.examples import CAPTURE, DEAD_LETTER, ENDED, RECONCILED
from chainstrata.cdc import CaptureStatus, DeadLetter, Ended, Reconciled, Replayed
from chainstrata.cdc.model import show_lsn

router: Final = APIRouter(tags=["mirrors"])
_READ: Final = [Depends(guard(Role.READ))]
_ERRORS: Final = documented(401, 403, 404, 409, 422, 429, 500, 503)
_NEVER_KEPT: Final = {"Cache-Control": "no-store"}
Names = Annotated[list[str] | None, Query(alias="name", description="Only this mirrored dataset. May be given several times.")]


class Chosen(BaseModel):
    """Which mirrors; without names, all."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"names": ["prices.minute"]}})

    names: list[str] = Field(default=[], description="Mirrored datasets, by full name.")


class Named(BaseModel):
    """Which mirrors. They have to be named, because what follows is not undone."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"names": ["prices.minute"]}})

    names: list[str] = Field(min_length=1, description="Mirrored datasets, by full name.")


class End(Named):
    """Which mirrors to end, and what is to become of their tables."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"names": ["prices.minute"], "dry_run": True}})

    drop_table: bool = Field(default=False, description="Drop their tables too. Else they stay as they are.")
    lose_history: bool = Field(default=False, description="Drop tables also where rows are in them that nobody else has.")
    dry_run: bool = Field(default=False, description="Only say what would be done.")


class Wait(Chosen):
    """What to wait for, and how long."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"names": ["prices.minute"], "within": 10}})

    within: float = Field(default=30.0, ge=0, le=300, description="Seconds to wait at most.")


class Comparison(Chosen):
    """What to compare, and whether to mend it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"names": ["prices.minute"], "repair": False}})

    repair: bool = Field(default=False, description="Mend what differs in the mirrors.")


class Letters(Chosen):
    """Which events that were put aside; without numbers and names, all."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"ids": [17]}})

    ids: list[int] = Field(default=[], description="Numbers of events.")


class Steered(BaseModel):
    """The mirrors that it was done to; those it did not apply to are left out."""

    model_config = ConfigDict(json_schema_extra={"example": {"names": ["prices.minute"]}})

    names: list[str]


class Reached(BaseModel):
    """Everything that was committed before this position is in the mirrors."""

    model_config = ConfigDict(json_schema_extra={"example": {"lsn": "0/1A2B3C8"}})

    lsn: str


class Dropped(BaseModel):
    """How many events were given up."""

    model_config = ConfigDict(json_schema_extra={"example": {"dropped": 1}})

    dropped: int


def _shown(example: Any) -> dict[int | str, dict[str, Any]]:
    return {**_ERRORS, 200: {"content": {"application/json": {"example": example}}}}


@router.get("/cdc", summary="How far each mirror is, and what keeps it", responses=_shown(CAPTURE), dependencies=_READ)
async def get_status(platform: ThePlatform, response: Response, names: Names = None) -> CaptureStatus:
    """State, position, lag and errors of each mirror, and the log that the server keeps for them."""
    response.headers.update(_NEVER_KEPT)
    async with platform.mirrors() as mirrors:
        return await mirrors.status(names or [])


@router.post("/cdc/pause", summary="Let mirrors wait where they are", responses=_ERRORS)
async def pause(platform: ThePlatform, caller: Admin, chosen: Chosen | None = None) -> Steered:
    """The server keeps what they miss, up to `cdc.kept_mb`."""
    names = (chosen or Chosen()).names
    async with platform.audit.witness(entry_of(caller, "cdc.pause", ", ".join(names))), platform.mirrors() as mirrors:
        return Steered(names=await mirrors.pause(names))


@router.post("/cdc/resume", summary="Let mirrors go on that wait", responses=_ERRORS)
async def resume(platform: ThePlatform, caller: Admin, chosen: Chosen | None = None) -> Steered:
    """Those that were paused, and those that a problem stopped."""
    names = (chosen or Chosen()).names
    async with platform.audit.witness(entry_of(caller, "cdc.resume", ", ".join(names))), platform.mirrors() as mirrors:
        return Steered(names=await mirrors.resume(names))


@router.post("/cdc/resync", summary="Copy mirrors anew", status_code=202, responses=_ERRORS)
async def resync(platform: ThePlatform, caller: Admin, named: Named) -> Steered:
    """Those that were ended too. Rows whose partitions have left the source stay in them.

    The answer does not wait for the copy: `/cdc` tells how it goes. Until it is there, reading a mirror gives what is there by then.
    """
    async with platform.audit.witness(entry_of(caller, "cdc.resync", ", ".join(named.names))), platform.mirrors() as mirrors:
        return Steered(names=await mirrors.resync(named.names))


@router.post("/cdc/end", summary="End mirrors for good", responses={**_shown(ENDED), **documented(504)})
async def end(platform: ThePlatform, caller: Admin, wish: End) -> Ended:
    """With the last one the server stops to keep log. Tables stay, or are dropped; 409 where that would lose rows nobody else has."""
    if wish.dry_run:
        async with platform.mirrors() as mirrors:
            return await mirrors.end(wish.names, drop_table=wish.drop_table, dry_run=True)
    options = wish.model_dump(exclude={"names"})
    async with platform.audit.witness(entry_of(caller, "cdc.end", ", ".join(wish.names), **options)), platform.mirrors() as mirrors:
        return await mirrors.end(wish.names, drop_table=wish.drop_table, lose_history=wish.lose_history)


@router.post("/cdc/wait", summary="Wait until mirrors have everything", responses={**_ERRORS, **documented(504)}, dependencies=_READ)
async def wait(platform: ThePlatform, wish: Wait | None = None) -> Reached:
    """Answers once they have all that was committed before the question; 504 if that takes too long."""
    asked = wish or Wait()
    async with platform.mirrors() as mirrors:
        return Reached(lsn=show_lsn(await mirrors.wait(asked.names, within=asked.within)))


@router.get("/cdc/dead-letters", summary="Changes that a mirror could not take", responses=_shown([DEAD_LETTER]), dependencies=_READ)
async def list_dead(
    platform: ThePlatform,
    response: Response,
    names: Names = None,
    state: Annotated[list[str] | None, Query(description="held (default), replayed or dropped.")] = None,
    before: Annotated[int | None, Query(description="Go on from the event of this number.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 100,
) -> list[DeadLetter]:
    """Newest first, each with the row as texts and the reason."""
    response.headers.update(_NEVER_KEPT)
    async with platform.mirrors() as mirrors:
        return await mirrors.list_dead(names or [], states=state or ["held"], before=before, most=limit)


@router.post(
    "/cdc/dead-letters/replay", summary="Try events again, with the rows as they are now", responses=_shown({"replayed": 1, "held": 0})
)
async def replay(platform: ThePlatform, caller: Admin, letters: Letters | None = None) -> Replayed:
    """Safe to ask again: what came since stands above them."""
    asked = letters or Letters()
    async with platform.audit.witness(entry_of(caller, "cdc.replay", ", ".join(asked.names))) as detail, platform.mirrors() as mirrors:
        done = await mirrors.replay(asked.names, ids=asked.ids)
        detail.update(asdict(done))
    return done


@router.post("/cdc/dead-letters/drop", summary="Give events up", responses=_ERRORS)
async def drop(platform: ThePlatform, caller: Admin, letters: Letters | None = None) -> Dropped:
    """They stay on record as dropped."""
    asked = letters or Letters()
    async with platform.audit.witness(entry_of(caller, "cdc.drop", ", ".join(asked.names))) as detail, platform.mirrors() as mirrors:
        detail["dropped"] = dropped = await mirrors.drop_dead(asked.names, ids=asked.ids)
    return Dropped(dropped=dropped)


@router.post("/reconcile", summary="Compare mirrors with their sources, down to the row", responses=_shown([RECONCILED]))
async def reconcile(platform: ThePlatform, caller: Admin, comparison: Comparison | None = None) -> list[Reconciled]:
    """At one position of the log, by checksums; with `repair`, what differs is mended. The answer waits for the end."""
    asked = comparison or Comparison()
    async with platform.audit.witness(entry_of(caller, "reconcile", ", ".join(asked.names), repair=asked.repair)) as detail:
        async with platform.mirrors() as mirrors:
            found = await mirrors.reconcile(asked.names, repair=asked.repair)
        detail["differing"] = [one.dataset for one in found if not one.agrees]
    return found
