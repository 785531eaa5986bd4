"""Why somebody is not let in."""

from datetime import datetime

from chainstrata.errors import ChainStrataError, UsageError

_HOW = "Send `Authorization: Bearer KEY`; `chainstrata keys create NAME` makes one."


class AccessError(ChainStrataError):
    """A caller who may not do what was asked."""

    code = "access"
    http_status = 403


class KeyMissing(AccessError):
    """A request without a key where one is needed."""

    code = "key_missing"
    http_status = 401

    def __init__(self) -> None:
        super().__init__("this takes a key", hint=_HOW)


class KeyUnknown(AccessError):
    """A key that was never made or was taken back. Which of the two is not told."""

    code = "key_unknown"
    http_status = 401

    def __init__(self) -> None:
        super().__init__("the key is not known", hint=_HOW)


class KeyExpired(AccessError):
    """A key whose time is over."""

    code = "key_expired"
    http_status = 401

    def __init__(self, name: str, expired: datetime) -> None:
        super().__init__(f"the key {name!r} ended at {expired:%Y-%m-%d %H:%M:%S} UTC", hint=_HOW)


class NotAllowed(AccessError):
    """A key whose role does not include what was asked."""

    code = "not_allowed"

    def __init__(self, name: str, role: str, needed: str) -> None:
        super().__init__(f"this takes a key that may {needed}, and {name!r} may {role}", hint=f"Use a key with the role {needed}.")


class TooManyRequests(AccessError):
    """A caller who asks faster than agreed. `retry_after` is how many seconds to wait."""

    code = "too_many_requests"
    retryable = True
    http_status = 429

    def __init__(self, name: str, rate: float, retry_after: float) -> None:
        super().__init__(f"{name} asks more than {rate:g} times a second", hint="Wait as Retry-After says, or have api.rate raised.")
        self.retry_after = retry_after


class KeyNameTaken(UsageError):
    """A name that a key in use bears."""

    code = "key_name_taken"
    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"a key {name!r} is in use", hint=f"Choose another name, or take that one back: `chainstrata keys revoke {name}`.")
