"""The driver's errors, translated once, by the engine's code, into ours."""

import re
from typing import TYPE_CHECKING, Final

from chainstrata.engines.clickhouse import errors

if TYPE_CHECKING:
    from clickhouse_connect.driver.exceptions import Error

BY_CODE: Final[dict[int, type[errors.ColumnarFailed]]] = {
    **dict.fromkeys((16, 46, 47, 60, 63, 81, 115, 179, 215, 456, 701), errors.ColumnarUndefined),
    **dict.fromkeys((15, 57, 82, 44_000), errors.ColumnarDuplicate),
    **dict.fromkeys((62, 10, 20, 35, 36, 42, 43, 44, 80, 184, 352, 386, 403), errors.ColumnarInvalid),
    **dict.fromkeys((48, 50, 344, 225, 1_001), errors.ColumnarNotSupported),
    **dict.fromkeys((164, 242, 497), errors.ColumnarReadOnly),
    **dict.fromkeys((6, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 441, 457, 467, 469, 691), errors.ColumnarBadValue),
    **dict.fromkeys((159, 160, 209), errors.ColumnarTimeout),
    **dict.fromkeys((236, 394), errors.ColumnarCanceled),
    **dict.fromkeys((158, 173, 191, 241, 307, 396), errors.ColumnarMemory),
    **dict.fromkeys((202, 252, 373, 473, 999, 225_000, 242_000), errors.ColumnarBusy),
    **dict.fromkeys((243,), errors.ColumnarDiskFull),
    **dict.fromkeys((40, 246, 271, 354), errors.ColumnarCorrupted),
}
AUTHENTICATION: Final = frozenset({192, 193, 194, 516})
_HINTS: Final[dict[type[errors.ColumnarFailed], str]] = {
    errors.ColumnarUndefined: "Run `chainstrata migrate status`: the columnar schema may be behind the code.",
    errors.ColumnarTimeout: "Raise clickhouse.query_timeout, or make the statement read less.",
    errors.ColumnarMemory: "Raise clickhouse.query_memory_mb, or make the statement read less.",
    errors.ColumnarBusy: "Try again in a moment; send fewer, larger inserts.",
    errors.ColumnarDiskFull: "Free space on that file system, then try again.",
    errors.ColumnarCorrupted: "Keep the files; a mirror can be copied anew, other tables restored from a backup.",
}
_PREFIX: Final = re.compile(r"^.*?server response:\s*", re.DOTALL)
_CODE: Final = re.compile(r"Code:\s*(\d+)\.\s*")
_TRAILER: Final = re.compile(r"\s*\((?:version [^()]*(?:\([^()]*\))?|for url [^)]*)\)\s*")


def translate(error: "Error", *, sent: bool = True) -> errors.ColumnarError:
    """Return our error for one of the driver's. `sent` says whether a statement was under way when a connection broke."""
    text = _one_line(str(error))
    code = error.code if isinstance(getattr(error, "code", None), int) else _code_of(text)
    if code in AUTHENTICATION:
        return errors.ColumnarAuthentication(text, hint="Check user and password of clickhouse.url, or secrets/clickhouse_password.")
    if not code:
        return _connection(text, sent)
    kind = BY_CODE.get(code, errors.ColumnarFailed)
    return kind(text, hint=_HINTS.get(kind, ""), engine_code=code)


def lost(error: BaseException, *, sent: bool = True) -> errors.ColumnarError:
    """Return our error for a connection that could not be had, or broke."""
    return _connection(_one_line(str(error) or type(error).__name__), sent)


def _connection(text: str, sent: bool) -> errors.ColumnarError:
    if sent:
        return errors.ColumnarLost(
            f"the connection to the columnar engine was lost: {text}",
            hint="Reads, and inserts that bear a token, can be repeated; check before repeating anything else.",
        )
    return errors.ColumnarUnreachable(
        f"cannot reach the columnar engine: {text}", hint="Check that it runs and that clickhouse.url names it rightly."
    )


def _code_of(text: str) -> int:
    found = _CODE.search(text)
    return int(found[1]) if found else 0


def _one_line(text: str) -> str:
    short = _TRAILER.sub(" ", _PREFIX.sub("", text))
    short = _CODE.sub("", short).replace("DB::Exception:", "")
    return re.sub(r"\s+", " ", short).strip().rstrip(".") or "no reason given"
