"""The one error tree. Every error names the object and the value, and carries a hint that says what to do.

    ChainStrataError
    ├── UsageError              the caller asked for something that cannot be
    │   └── UnknownName         a dataset, pack, setting or revision nobody declared
    ├── ConfigError             settings that do not fit
    ├── DeclarationError        a dataset or pack that cannot work as declared
    ├── EngineError             an engine is missing, unreachable or refused
    │   └── …                   each engine's own errors live beside it (`engines/*/errors.py`)
    └── MigrationError          the schema and its history disagree (`migrate/errors.py`)

An error is shown to people as `message` and `hint`, and to programs as `code`. Edges map it: HTTP answers
`{"error": {"code", "message", "hint"}}` with `http_status`; the command line prints both and exits with `exit_code`.
Only `retryable` decides whether a caller may try again unchanged.
"""

from typing import ClassVar


class ChainStrataError(Exception):
    """Base of all errors a user may meet. Messages start in lower case and end without a full stop."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """Return the shape every edge shows."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(ChainStrataError):
    """The request itself is wrong; asking again unchanged gives the same answer."""

    code = "usage"
    http_status = 400
    exit_code = 2


class UnknownName(UsageError):
    """A name that nothing known bears. The hint lists the nearest known names."""

    code = "unknown_name"
    http_status = 404

    def __init__(self, kind: str, name: str, known: "tuple[str, ...] | list[str]" = ()) -> None:
        import difflib

        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        listed = near or sorted(known)[:12]
        hint = f"Did you mean {', '.join(near)}?" if near else (f"Known: {', '.join(listed)}." if listed else "")
        super().__init__(f"unknown {kind} {name!r}", hint=hint)
        self.kind = kind
        self.name = name


class ConfigError(ChainStrataError):
    """One or more settings do not fit; `problems` holds a line for each."""

    code = "config_invalid"
    http_status = 500
    exit_code = 2

    def __init__(self, problems: "list[str]", *, hint: str = "") -> None:
        message = problems[0] if len(problems) == 1 else f"{len(problems)} settings do not fit: " + "; ".join(problems)
        super().__init__(message, hint=hint or "Run `chainstrata config check` for the origin of every value.")
        self.problems = tuple(problems)


class DeclarationError(ChainStrataError):
    """A dataset or pack that cannot work as declared. Found when a pack is loaded, before anything runs."""

    code = "declaration_invalid"

    def __init__(self, dataset: str, field: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{dataset}: {field}: {problem}", hint=hint)
        self.dataset = dataset
        self.field = field


class EngineError(ChainStrataError):
    """An engine is missing, unreachable, or refused what was asked of it."""

    code = "engine"
    http_status = 503
