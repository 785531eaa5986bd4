"""The page of metrics: what `/metrics` answers with."""

from collections.abc import Iterable

from chainstrata.monitor.metrics import METRICS
from tools.docs.page import Page, table

INTRODUCTION = """# Metrics

`GET /metrics` answers in the text format of Prometheus, to a key with the role `read`. Figures of pool and ingest are those of the process
that answers; those of mirrors, jobs and roll-ups come from PostgreSQL, so that every process tells the same, and are left out while it is
away. A counter begins anew with its process, that of a mirror when the mirror is copied anew. [The runbook](../runbook.md) has how to scrape them."""


def pages() -> Iterable[Page]:
    """Yield the page."""
    rows = [(f"`{one.full_name}`", one.kind.value, ", ".join(f"`{label}`" for label in one.labels), one.doc) for one in METRICS.values()]
    yield Page("reference/metrics.md", f"{INTRODUCTION}\n\n{table(('metric', 'kind', 'labels', 'what it says'), rows)}")
