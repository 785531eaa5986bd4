"""The words of access: roles, keys, callers, and entries of the record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4


class Role(StrEnum):
    """What a key may do. Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, needed: "Role") -> bool:
        return _ORDER[self] >= _ORDER[needed]


_ORDER: Final = {role: place for place, role in enumerate(Role)}


class Outcome(StrEnum):
    """What became of a write. `BEGUN` that stays: the process ended before anybody knew."""

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept: its open part, never the whole. `state` is active, expired or revoked."""

    id: int
    name: str
    prefix: str
    role: Role
    state: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A key that was just made. `secret` is the whole key, and nobody can tell it again."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key by its name, or somebody at the machine itself (`key` None)."""

    name: str
    role: Role
    key: int | None = None


LOCAL: Final = Caller("local", Role.READ)
"""Who reads on the node's own machine without a key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record."""

    caller: Caller
    action: str
    object: str = ""
    request: str = "-"
    outcome: Outcome = Outcome.BEGUN
    detail: Mapping[str, Any] | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: UUID = field(default_factory=uuid4)
