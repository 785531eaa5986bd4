"""What goes back to a client: the engine's result, or its error with its code."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

_CODE: Final = re.compile(r"Code:\s*(\d+)\.")
# What a ClickHouse answers with; anything else is 500. Not 503 or 504, at which clients would repeat a statement by themselves.
_STATUS: Final = {
    **dict.fromkeys((6, 26, 27, 38, 41, 53, 62, 70, 72, 115, 117, 181, 456, 457), 400),
    **dict.fromkeys((60, 81, 46, 47, 16), 404),
    **dict.fromkeys((192, 193, 194, 516), 403),
    48: 501,
    159: 408,
}
CONTENT_TYPES: Final = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `engine_code` is 0 unless it is an error."""

    body: "bytes | memoryview"
    summary: str = "{}"
    format: str = ""
    engine_code: int = 0

    @property
    def status(self) -> int:
        return _STATUS.get(self.engine_code, 500) if self.engine_code else 200

    @property
    def content_type(self) -> str:
        if self.engine_code or not self.format:
            return "text/plain; charset=UTF-8"
        return CONTENT_TYPES.get(self.format, "application/octet-stream")


def of_result(result: Any, format_name: str) -> Answer:
    """Return a result of the engine."""
    summary = {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "result_rows": result.rows_read(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
    return Answer(result.bytes(), _shown(summary), format_name)


def of_insert(result: Any) -> Answer:
    """Return what an insert did."""
    written = {"written_rows": result.rows_written(), "written_bytes": result.bytes_written(), "elapsed_ns": int(result.elapsed() * 1e9)}
    return Answer(b"", _shown({"read_rows": 0, "read_bytes": 0, **written}))


def _shown(summary: "dict[str, int]") -> str:
    return json.dumps({name: str(value) for name, value in summary.items()})


def of_error(message: str, engine_code: int, version: str) -> Answer:
    """Return an error as a ClickHouse words it."""
    text = message if message.startswith("Code: ") else f"Code: {engine_code}. DB::Exception: {message}"
    return Answer(f"{text.strip()} (version {version})\n".encode("utf-8", "replace"), engine_code=engine_code)


def code_of(message: str) -> int:
    """Return the engine's code in one of its messages, 1002 (unknown exception) where there is none."""
    found = _CODE.search(message)
    return int(found[1]) if found else 1002
