"""What can go wrong with upkeep."""

from collections.abc import Sequence

from chainstrata.errors import ChainStrataError


class UpkeepFailed(ChainStrataError):
    """Some of what was to be kept up could not be; the rest was done."""

    code = "upkeep_failed"
    retryable = True

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        super().__init__("; ".join(problems), hint=hint)
        self.problems = tuple(problems)
