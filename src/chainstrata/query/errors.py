"""What cannot be read as it was asked."""

from collections.abc import Iterable

from chainstrata.errors import UsageError


class CursorInvalid(UsageError):
    """A cursor that did not come from a page of this very question."""

    code = "cursor_invalid"
    http_status = 422

    def __init__(self) -> None:
        super().__init__("the cursor is not one of this question", hint="Take `page.next` of the page before, and ask the rest unchanged.")


class FilterUnknown(UsageError):
    """A filter on a column that no index leads to."""

    code = "filter_unknown"
    http_status = 422

    def __init__(self, name: str, column: str, known: Iterable[str]) -> None:
        listed = ", ".join(sorted(known))
        super().__init__(f"{name} is not looked up by {column!r}", hint=f"It is by {listed}." if listed else "It is by no column.")


class AsOfNotKept(UsageError):
    """What tells how things are now, and nothing keeps how they were: rows are written over, or have no time that they are about."""

    code = "as_of_not_kept"
    http_status = 422

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} tells how things are now, and not how they were", hint=f"Ask without as_of: {why}.")


class NoEntity(UsageError):
    """A dataset that does not say what its rows are about, so that none is the latest of it."""

    code = "no_entity"
    http_status = 422

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} does not declare what its rows are about", hint=f"Read its rows: /api/v1/datasets/{name}/rows.")


class NotSeries(UsageError):
    """A dataset whose rows have no time in their key, so that none is the next."""

    code = "not_a_series"
    http_status = 422

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not a series", hint=f"Read its rows: /api/v1/datasets/{name}/rows.")


class EntityNeeded(UsageError):
    """A series is filled for entities that are named: of all there are the answer would have no bounds."""

    code = "entity_needed"
    http_status = 422

    def __init__(self, name: str, missing: Iterable[str]) -> None:
        listed = list(missing)
        hint = "Add " + " and ".join(f"filter={column}:…" for column in listed) + "; several values for several entities."
        super().__init__(f"{name} is filled for entities that are named, and {', '.join(listed)} is not", hint=hint)


class TooManyBuckets(UsageError):
    """More buckets than one answer holds."""

    code = "too_many_buckets"
    http_status = 422

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"{count} buckets are more than one answer holds ({most})", hint="Ask for a shorter span, or longer buckets.")
