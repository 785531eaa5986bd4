"""Access: keys with roles, how much a caller may ask, and the record of what was written by whom.

`Keys` makes, finds and takes back keys; a key is kept as its hash. `Limiter` says who has to wait. `Audit` records every write,
in the write's own transaction where it has one, and keeps what it cannot record in a file until it can.
"""

from chainstrata.access.audit import Audit
from chainstrata.access.errors import KeyExpired, KeyMissing, KeyNameTaken, KeyUnknown, NotAllowed, TooManyRequests
from chainstrata.access.limits import Limiter
from chainstrata.access.model import LOCAL, Caller, Entry, Issued, Key, Outcome, Role
from chainstrata.access.runner import Keys

__all__ = [
    "LOCAL",
    "Audit",
    "Caller",
    "Entry",
    "Issued",
    "Key",
    "KeyExpired",
    "KeyMissing",
    "KeyNameTaken",
    "KeyUnknown",
    "Keys",
    "Limiter",
    "NotAllowed",
    "Outcome",
    "Role",
    "TooManyRequests",
]
