"""What a route needs: the platform, the node's own account, and a guard that says who asks and whether they may."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.security.base import SecurityBase

from chainstrata.access import LOCAL, Caller, Entry, KeyMissing, Keys, KeyUnknown, Limiter, NotAllowed, Outcome, Role
from chainstrata.access.audit import describe
from chainstrata.api.requests import request_id
from chainstrata.config import API_LOCAL_READS, API_RATE, MODE, NODE_HOST, Config
from chainstrata.errors import ChainStrataError
from chainstrata.monitor import NodeStatus
from chainstrata.node import Platform
from chainstrata.node.http import is_loopback

_READS: Final = ("GET", "HEAD")
# A proxy in front says for whom it asks; then this machine is not who asks.
_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")
# Wrong keys a second from one address, and how many at once.
_WRONG_RATE: Final = 1.0
_WRONG_BURST: Final = 20.0


# Not plain functions: the framework would run these in a thread, for every request.
async def _platform(request: Request) -> Platform:
    return cast(Platform, request.app.state.platform)


async def _node(request: Request) -> NodeStatus:
    return cast(NodeStatus, request.app.state.node())


ThePlatform = Annotated[Platform, Depends(_platform)]
TheNode = Annotated[NodeStatus, Depends(_node)]


class Doorkeeper:
    """Says who asks, and holds them to their rate."""

    def __init__(self, keys: Keys, config: Config) -> None:
        self._keys = keys
        self._limits = Limiter(config[API_RATE])
        self._wrong = Limiter(_WRONG_RATE, _WRONG_BURST)
        self._local_reads = config[API_LOCAL_READS] and config[MODE] != "production" and is_loopback(config[NODE_HOST])

    async def identify(self, request: Request) -> Caller:
        """Return who asks; raise `KeyMissing`, `KeyUnknown`, `KeyExpired` or `TooManyRequests`."""
        secret = _secret_of(request)
        if secret is None:
            if self._local_reads and _asks_from_here(request):
                return LOCAL
            raise KeyMissing
        try:
            caller = await self._keys.authenticate(secret)
        except KeyUnknown:
            self._wrong.take(request.client.host if request.client else "somebody")
            raise
        self._limits.take(caller.name)
        return caller

    async def admit(self, request: Request, role: Role) -> Caller:
        """Return who asks if they may do what takes this role. A write that is refused for the role is recorded."""
        caller = await self.identify(request)
        if caller.role.includes(role):
            request.state.caller = caller
            return caller
        if caller.key is None:
            raise KeyMissing
        error = NotAllowed(caller.name, caller.role, role)
        await record_refused(request, caller, error)
        raise error


async def record_refused(request: Request, caller: Caller, error: ChainStrataError) -> None:
    """Record a write that was refused before its route was asked; of reads nothing is recorded."""
    if request.method not in _READS:
        entry = Entry(caller, f"{request.method} {request.url.path}", "", request_id(), Outcome.REFUSED, describe(error))
        await cast(Platform, request.app.state.platform).audit.add(entry)


class Guard(SecurityBase):
    """Lets those in who may do what takes a role. `guard(role)` is how a route names it."""

    def __init__(self, role: Role) -> None:
        self.model = BearerModel(description="A key made by `chainstrata keys create`, as `Authorization: Bearer KEY`.")
        self.scheme_name = "key"
        self.role = role

    async def __call__(self, request: Request) -> Caller:
        return await cast(Doorkeeper, request.app.state.doorkeeper).admit(request, self.role)


_GUARDS: Final = {role: Guard(role) for role in Role}


def guard(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """Return the one dependency that every route but health has: `caller: Annotated[Caller, Depends(guard(Role.READ))]`."""
    return _GUARDS[role]


Reader = Annotated[Caller, Depends(guard(Role.READ))]
Writer = Annotated[Caller, Depends(guard(Role.WRITE))]
Admin = Annotated[Caller, Depends(guard(Role.ADMIN))]


def _secret_of(request: Request) -> str | None:
    """Return the key a request bears: as a bearer, or for reading as the password a browser asks for."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "":
            return request.headers.get("x-api-key")
        case "bearer":
            return given.strip()
        # A browser sends this by itself, also when another site made it ask; so nothing is written by it.
        case "basic" if request.method in _READS:
            try:
                return base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                raise KeyUnknown from None
        case _:
            raise KeyUnknown


def _asks_from_here(request: Request) -> bool:
    """Whether a program on this machine asks, by its own address and by this machine's name.

    The name counts, because a page from elsewhere can have its own name point here and a browser ask in its place.
    """
    if request.client is None or not is_loopback(request.client.host) or any(name in request.headers for name in _FORWARDED):
        return False
    host = request.headers.get("host", "")
    return is_loopback(host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0])


def entry_of(caller: Caller, action: str, thing: str = "", **detail: Any) -> Entry:
    """Return the entry of the record for what this request writes."""
    return Entry(caller, action, thing, request_id(), detail=detail or None)
