"""Keys as text: how one is made, how it is taken apart, what of it is kept."""

import hashlib
import re
import secrets
from typing import Final

_SHAPE: Final = re.compile(r"(cs_[0-9a-f]{12})_[A-Za-z0-9_-]{43}")


def make_secret() -> tuple[str, str]:
    """Return a new key's open part and the whole key."""
    prefix = f"cs_{secrets.token_hex(6)}"
    return prefix, f"{prefix}_{secrets.token_urlsafe(32)}"


def prefix_of(secret: str) -> str | None:
    """Return the open part of a key, or None if it has not the shape of one."""
    shape = _SHAPE.fullmatch(secret)
    return shape[1] if shape else None


def hash_secret(secret: str) -> bytes:
    """Return what is kept of a key. It holds 256 random bits: no slow hash makes those harder to guess."""
    return hashlib.sha256(secret.encode()).digest()
