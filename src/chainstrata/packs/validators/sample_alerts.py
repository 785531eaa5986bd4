"""Alerts of the sampled validators: raised when attestations are missed three times in a row, resolved when they come again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np
import pyarrow as pa

from chainstrata.packs.sampling import Numbers, chosen, instants, uuids
from chainstrata.packs.validators.model import AlertResolution, AlertSeverity, AlertType
from chainstrata.packs.validators.sample_chain import SLOTS_PER_EPOCH, slot_micros

IN_A_ROW = 3
MOST = 5_000
"""Alerts kept of a large sample."""
_TOLD_BY: Final = UUID("0f7d6c0e-6a5e-4d5e-9b57-3a1f0f1c2b7a")
KINDS, SEVERITIES, RESOLUTIONS = list(AlertType), list(AlertSeverity), list(AlertResolution)


@dataclass(slots=True)
class _Alert:
    kind: AlertType
    severity: AlertSeverity
    validator: int | None
    epoch: int
    raised: int
    message: str
    details: dict[str, Any]
    key: str
    seen: int
    occurrences: int = 1
    resolution: AlertResolution = AlertResolution.OPEN
    resolved: int | None = None
    by: str | None = None
    note: str | None = None
    acknowledged: int | None = None


@dataclass(slots=True)
class Watch:
    """Looks at every epoch as it is settled, and keeps what there was to alert of."""

    rng: np.random.Generator
    index: Numbers
    clock: Callable[[Any], Any]
    alerts: list[_Alert] = field(default_factory=list)
    _run: Numbers = field(init=False)
    _open: dict[int, _Alert] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._run = np.zeros(len(self.index), dtype="i4")

    def note(self, epoch: int, active: Numbers, included: Numbers) -> None:
        """Take in an epoch that was settled."""
        missing = active & ~included
        settled = int(self.clock((epoch + 2) * SLOTS_PER_EPOCH))
        back = np.flatnonzero((self._run >= IN_A_ROW) & ~missing)
        self._run = np.where(missing, self._run + 1, 0)
        for place in back.tolist():
            if alert := self._open.pop(place, None):
                self._resolve(alert, settled)
        for place in np.flatnonzero(self._run == IN_A_ROW).tolist()[: max(0, MOST - len(self.alerts))]:
            self._raise(place, epoch, settled)
        for place in np.flatnonzero(self._run > IN_A_ROW).tolist():
            if alert := self._open.get(place):
                alert.occurrences += 1
                alert.seen = settled

    def _raise(self, place: int, epoch: int, at: int) -> None:
        validator = int(self.index[place])
        self._open[place] = _Alert(
            AlertType.MISSED_ATTESTATION,
            AlertSeverity.WARNING,
            validator,
            epoch,
            at,
            f"validator {validator} missed {IN_A_ROW} attestations in a row, the last in epoch {epoch}",
            {"missed_in_a_row": IN_A_ROW},
            f"missed_attestation:{validator}",
            at,
        )
        self.alerts.append(self._open[place])

    def _resolve(self, alert: _Alert, at: int) -> None:
        alert.resolved = at
        if self.rng.random() < 0.1:
            alert.resolution, alert.by, alert.note = AlertResolution.DISMISSED, "dana", "planned maintenance"
        else:
            alert.resolution, alert.by, alert.note = AlertResolution.RESOLVED, "rule:attesting-again", None

    def note_slashing(self, validators: Numbers, epoch: int) -> None:
        at = int(self.clock(epoch * SLOTS_PER_EPOCH))
        for validator in validators.tolist():
            message = f"validator {validator} was slashed in epoch {epoch}"
            slashed = _Alert(
                AlertType.SLASHED, AlertSeverity.CRITICAL, validator, epoch, at, message, {"epoch": epoch}, f"slashed:{validator}", at
            )
            slashed.resolution, slashed.acknowledged, slashed.by = AlertResolution.ACKNOWLEDGED, at + slot_micros(5), "dana"
            self.alerts.append(slashed)

    def note_reorgs(self, slots: Numbers) -> None:
        for slot in slots.tolist():
            at = int(self.clock(slot + 1)) + 4_000_000
            message = f"the block of slot {slot} left the chain"
            lost = _Alert(
                AlertType.REORG, AlertSeverity.INFO, None, slot // SLOTS_PER_EPOCH, at, message, {"depth": 1}, f"reorg:{slot}", at
            )
            lost.resolution, lost.resolved, lost.by = AlertResolution.RESOLVED, at + slot_micros(1), "rule:rewound"
            self.alerts.append(lost)

    def take_news(self, at: int) -> Any:
        """Return the alerts that something was noted of at an instant, each told apart by what it is about; forget those that ended."""
        news = [alert for alert in self.alerts if at in (alert.raised, alert.seen, alert.resolved)]
        self.alerts = [alert for alert in self.alerts if alert.resolved is None]
        ids = pa.array([str(uuid5(_TOLD_BY, f"{alert.key} {alert.raised}")) for alert in news], pa.string())
        return _rows(news, ids, [f"{alert.key}:{alert.epoch}" for alert in news])

    def rows(self) -> Any:
        """Return all alerts, as they stand at the end."""
        alerts = sorted(self.alerts, key=lambda alert: (alert.raised, alert.key))
        return _rows(alerts, uuids(self.rng, len(alerts)), [alert.key for alert in alerts])


def _rows(alerts: Sequence[_Alert], ids: Any, keys: Sequence[str]) -> Any:
    resolved = [alert.resolved for alert in alerts]
    acknowledged = [alert.acknowledged for alert in alerts]
    taken = [alert.by if alert.acknowledged else None for alert in alerts]
    ended = [alert.by if alert.resolved else None for alert in alerts]
    return pa.table(
        {
            "id": ids,
            "alert_type": chosen([KINDS.index(alert.kind) for alert in alerts], AlertType),
            "severity": chosen([SEVERITIES.index(alert.severity) for alert in alerts], AlertSeverity),
            "raised_at": instants([alert.raised for alert in alerts]),
            "validator_index": pa.array([alert.validator for alert in alerts], pa.int64()),
            "epoch": pa.array([alert.epoch for alert in alerts], pa.int64()),
            "message": pa.array([alert.message for alert in alerts], pa.string()),
            "details": pa.array([json.dumps(alert.details) for alert in alerts], pa.string()),
            "dedupe_key": pa.array(keys, pa.string()),
            "occurrences": pa.array([alert.occurrences for alert in alerts], pa.int32()),
            "last_seen_at": instants([alert.seen for alert in alerts]),
            "resolution_status": chosen([RESOLUTIONS.index(alert.resolution) for alert in alerts], AlertResolution),
            "acknowledged_at": pa.array(acknowledged, pa.timestamp("us", tz="UTC")),
            "acknowledged_by": pa.array(taken, pa.string()),
            "resolved_at": pa.array(resolved, pa.timestamp("us", tz="UTC")),
            "resolved_by": pa.array(ended, pa.string()),
            "resolution_note": pa.array([alert.note for alert in alerts], pa.string()),
        }
    )
