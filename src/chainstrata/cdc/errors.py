"""What can go wrong with change capture.

CaptureError
├── StreamBroken          what came over the replication connection is not what the protocol says
├── CannotCapture         the server is not set up for logical replication
├── SlotLost              the slot is gone, or what it kept no longer joins on to what the mirrors have
├── DatasetStopped        one dataset cannot go on; the others do
│   └── DatasetLost       nor can it ever, from where it is: only a copy helps
├── Rewritten             a table was put into new files while it was read
├── HistoryAtRisk         rows would be lost that only a mirror has
└── NotApplied            something was not applied in time
"""

from collections.abc import Mapping

from chainstrata.errors import ChainStrataError


class CaptureError(ChainStrataError):
    """Base of everything change capture."""

    code = "cdc"


class StreamBroken(CaptureError):
    """The replication stream holds something unexpected. Reading on would risk applying nonsense."""

    code = "cdc_stream_broken"


class CannotCapture(CaptureError):
    """The server cannot be captured from as it is set up."""

    code = "cdc_cannot_capture"
    http_status = 503


class SlotLost(CaptureError):
    """Changes between what the mirrors have and what the server still keeps are gone."""

    code = "cdc_slot_lost"
    http_status = 409


class DatasetStopped(CaptureError):
    """This dataset needs a person; its changes wait at the server meanwhile."""

    code = "cdc_dataset_stopped"
    http_status = 409

    def __init__(self, dataset: str, problem: str, *, hint: str) -> None:
        super().__init__(f"{dataset}: {problem}", hint=hint)
        self.dataset = dataset


class DatasetLost(DatasetStopped):
    """Changes of this dataset are missing in its mirror and will not come any more; it has to be copied anew."""

    code = "cdc_dataset_lost"

    def __init__(self, dataset: str, problem: str) -> None:
        super().__init__(dataset, problem, hint=f"Run `chainstrata cdc resync {dataset}`: it is copied anew.")


class HistoryAtRisk(CaptureError):
    """Rows whose partitions left the source are in the mirror alone; they are not dropped by the way."""

    code = "cdc_history_at_risk"
    http_status = 409

    def __init__(self, rows: Mapping[str, int]) -> None:
        listed = ", ".join(f"{count} of {dataset}" for dataset, count in rows.items())
        hint = "Keep the tables, or give these rows up with --lose-history (over HTTP: lose_history)."
        super().__init__(f"rows that only their mirror has would be lost: {listed}", hint=hint)
        self.rows = dict(rows)


class Rewritten(CaptureError):
    """A snapshot from before a table was rewritten finds nothing in it: what was read is worth nothing."""

    code = "cdc_rewritten"
    http_status = 409
    retryable = True

    def __init__(self, dataset: str) -> None:
        super().__init__(f"{dataset}: its table was rewritten or truncated while it was read", hint="Do it again.")


class NotApplied(CaptureError):
    """A position was not reached within the time given."""

    code = "cdc_not_applied"
    http_status = 504
    retryable = True
