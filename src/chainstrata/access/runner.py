"""Keys: made, found, listed, taken back.

A key that was found is believed for a few seconds, so that a request costs no query; one that is taken back works no longer than
that in other processes, and not at all in this one. While PostgreSQL is away, keys that were good lately stay good.
"""

import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from chainstrata.access.audit import Audit, describe, outcome_of
from chainstrata.access.errors import KeyExpired, KeyNameTaken, KeyUnknown
from chainstrata.access.model import Caller, Entry, Issued, Key, Outcome, Role
from chainstrata.access.planner import hash_secret, make_secret, prefix_of
from chainstrata.engines.postgres import Connection, Database, load_queries
from chainstrata.errors import ChainStrataError, EngineError, UnknownName, UsageError

QUERIES: Final = load_queries(__package__)
BELIEVED_SECONDS: Final = 5.0
BELIEVED_AWAY_SECONDS: Final = 900.0
LONGEST: Final = timedelta(days=36500)
_LONGEST_NAME: Final = 100
_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    hash: bytes
    expires_at: datetime | None
    revoked: bool
    seen: float


class Keys:
    """The keys of one database."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def create(
        self, name: str, role: Role = Role.READ, *, expires: timedelta | None = None, by: Caller, request: str = "-"
    ) -> Issued:
        """Make a key. `by` is who asks; what they make is recorded in the same transaction."""

        async def work(connection: Connection) -> Issued:
            return await self._add(connection, name, role, expires, by, request)

        # Of a name that is none, no more is kept than of one that is.
        async with self._recorded_if_not_done(by, "keys.create", name[:_LONGEST_NAME].replace("\0", ""), request):
            if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
                raise UsageError(f"a key cannot be named {name[:_LONGEST_NAME]!r}", hint="Give 1 to 100 printable characters.")
            if expires is not None and not timedelta(0) < expires <= LONGEST:
                raise UsageError(f"a key cannot be good for {expires}", hint="Give a duration such as 90d, of a hundred years at most.")
            return await self._database.run(work)

    async def create_first(self, name: str = "first") -> Issued | None:
        """Make a key that may do everything if there never was one, and return it."""

        async def work(connection: Connection) -> Issued | None:
            await connection.execute(QUERIES.lock_first_key)
            if await connection.fetch_value(QUERIES.count_keys):
                return None
            return await self._add(connection, name, Role.ADMIN, None, Caller("node", Role.ADMIN), "-")

        return await self._database.run(work)

    async def _add(self, connection: Connection, name: str, role: Role, expires: timedelta | None, by: Caller, request: str) -> Issued:
        prefix, secret = make_secret()
        ends = datetime.now(UTC) + expires if expires is not None else None
        await connection.execute(QUERIES.revoke_expired_name, {"name": name})
        values = {"name": name, "prefix": prefix, "hash": hash_secret(secret), "role": role.value, "expires_at": ends}
        row = await connection.fetch_one(QUERIES.add_key, values)
        if row is None:
            raise KeyNameTaken(name)
        await self._record(connection, by, "keys.create", name, request, {"role": role.value, "prefix": prefix})
        return Issued(_key(row._asdict()), secret)

    async def list_keys(self) -> list[Key]:
        """Return all keys, the newest first; those taken back too."""
        return [_key(row._asdict()) for row in await self._database.fetch_all(QUERIES.list_keys)]

    async def revoke(self, key: str, *, by: Caller, request: str = "-") -> Key:
        """Take a key back, by its name, its open part or whole. Raises `UnknownName` if none in use bears it."""
        # The whole of a key is nothing for a record or a message.
        key = prefix_of(key) or key

        async def work(connection: Connection) -> Key | None:
            row = await connection.fetch_one(QUERIES.revoke_key, {"key": key})
            if row is None:
                return None
            await self._record(connection, by, "keys.revoke", row.name, request, {"prefix": row.prefix})
            return _key(row._asdict())

        async with self._recorded_if_not_done(by, "keys.revoke", key, request):
            revoked = await self._database.run(work)
            if revoked is None:
                raise UnknownName("key", key, [one.name for one in await self.list_keys() if one.state != "revoked"])
        self._known.pop(revoked.prefix, None)
        return revoked

    async def authenticate(self, secret: str) -> Caller:
        """Return who bears this key; raise `KeyUnknown` or `KeyExpired`."""
        prefix = prefix_of(secret)
        if prefix is None:
            raise KeyUnknown
        known = await self._find(prefix)
        if known is None or known.revoked or not hmac.compare_digest(known.hash, hash_secret(secret)):
            raise KeyUnknown
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            raise KeyExpired(known.caller.name, known.expires_at)
        return known.caller

    async def _find(self, prefix: str) -> _Known | None:
        known = self._known.get(prefix)
        if known is not None and monotonic() - known.seen < BELIEVED_SECONDS:
            return known
        try:
            row = await self._database.fetch_one(QUERIES.find_key, {"prefix": prefix})
        except EngineError:
            if known is not None and monotonic() - known.seen < BELIEVED_AWAY_SECONDS:
                return known
            raise
        self._known.pop(prefix, None)
        if row is None:
            return None
        caller = Caller(row.name, Role(row.role), row.id)
        known = self._known[prefix] = _Known(caller, row.hash, row.expires_at, row.revoked_at is not None, monotonic())
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known

    @asynccontextmanager
    async def _recorded_if_not_done(self, by: Caller, action: str, name: str, request: str) -> AsyncIterator[None]:
        """What is done is recorded in its own transaction, which leaves nothing of what was not."""
        try:
            yield
        except ChainStrataError as error:
            await self._audit.add(Entry(by, action, name, request, outcome_of(error), describe(error)))
            raise

    async def _record(self, connection: Connection, by: Caller, action: str, name: str, request: str, detail: Mapping[str, Any]) -> None:
        await self._audit.record(connection, Entry(by, action, name, request, Outcome.DONE, detail))


def _key(row: Mapping[str, Any]) -> Key:
    return Key(**{**row, "role": Role(row["role"])})
