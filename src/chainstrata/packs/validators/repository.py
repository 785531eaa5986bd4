"""Questions about validators: one and many, how they do, what they missed, and what somebody has to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from chainstrata.engines.postgres import load_queries
from chainstrata.packs.repository import RowNotFound, question
from chainstrata.packs.validators.model import AlertResolution, AlertSeverity, AlertType, MissReason, ValidatorStatus
from chainstrata.packs.validators.rows import Alert, AttestationDuty, Tables, Validator, ValidatorSnapshot

QUERIES: Final = load_queries("chainstrata.packs.validators")
_REGISTRY: Final = "a validator is written over as it changes; its snapshots tell how it stood"
_ALERTS: Final = "an alert is written over when it is seen again, acknowledged or resolved"
_UNRESOLVED: Final = "Only an alert that is not resolved yet can be; see `unresolved_alerts`."


@dataclass(frozen=True, slots=True)
class Effectiveness:
    """What one validator earned over a span of time, of what it could have: the quotient of the sums."""

    validator_index: int
    epochs: int
    earned_reward: int | None
    ideal_reward: int | None
    effectiveness: Decimal | None
    due_attestations: int | None
    missed_attestations: int | None


@dataclass(frozen=True, slots=True)
class MissedStreak:
    """Attestations that one validator missed in a row. `ongoing`: the last one known was missed too."""

    validator_index: int
    first_epoch: int
    last_epoch: int
    missed: int
    not_seen: int
    ongoing: bool


@dataclass(frozen=True, slots=True)
class MissedDuty:
    """An attestation that no block included, why, and whom to ask."""

    validator_index: int
    name: str | None
    operator: str | None
    label: str | None
    epoch: int
    slot: int
    miss_reason: MissReason


@dataclass(frozen=True, slots=True)
class MissedOften:
    validator_index: int
    duties: int
    missed: int


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is not resolved, with what people call the validator and who runs it."""

    id: UUID
    alert_type: AlertType
    severity: AlertSeverity
    raised_at: datetime
    last_seen_at: datetime
    occurrences: int
    resolution_status: AlertResolution
    acknowledged_by: str | None
    message: str
    validator_index: int | None
    name: str | None
    operator: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """Which alert it is, and how often it has been seen."""

    id: UUID
    occurrences: int


@dataclass(frozen=True, slots=True)
class SeverityCount:
    severity: AlertSeverity
    alerts: int


class Validators(Tables):
    """The validators pack."""

    @question(now=_REGISTRY, validator_index=100_007)
    async def validator(self, validator_index: int) -> Validator | None:
        """Return one validator by its index."""
        return await self._one(QUERIES.get_validator, Validator, validator_index=validator_index)

    @question(now=_REGISTRY, pubkey="0x" + "0a" * 48)
    async def validator_by_pubkey(self, pubkey: str) -> Validator | None:
        """Return one validator by its public key."""
        return await self._one(QUERIES.get_validator_by_pubkey, Validator, pubkey=pubkey)

    @question(now=_REGISTRY, operator="lagoon")
    async def validators_of_operator(self, operator: str, label: str | None = None, after: int = -1, limit: int = 100) -> list[Validator]:
        """Return the validators of an operator, of one label or of all, by index after the last one seen."""
        return await self._all(QUERIES.list_validators_of_operator, Validator, operator=operator, label=label, after=after, limit=limit)

    @question(now=_REGISTRY, status="active_ongoing")
    async def validators_in_status(self, status: ValidatorStatus, after: int = -1, limit: int = 100) -> list[Validator]:
        """Return the validators in one status, by index after the last one seen."""
        return await self._all(QUERIES.list_validators_in_status, Validator, status=status, after=after, limit=limit)

    @question(of="snapshots", upto="at", validators=[100_001, 100_002])
    async def latest_snapshots(self, validators: Sequence[int], at: datetime | None = None) -> list[ValidatorSnapshot]:
        """Return the newest snapshot of each validator, up to an instant: how they stand, or stood."""
        return await self.snapshots.latest(*validators, at=at)

    @question(of="snapshots", upto="until", validator_index=100_007, since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z")
    async def snapshots_of(self, validator_index: int, since: datetime, until: datetime, limit: int = 1000) -> list[ValidatorSnapshot]:
        """Return the snapshots of one validator over a span of time, newest first."""
        return await self._all(
            QUERIES.list_snapshots_of_validator,
            ValidatorSnapshot,
            validator_index=validator_index,
            since=since,
            until=until,
            limit=limit,
        )

    @question(of="snapshots", upto="until", since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z", validators=[100_002])
    async def effectiveness(self, since: datetime, until: datetime, validators: Sequence[int] | None = None) -> list[Effectiveness]:
        """Return what each validator earned over a span of time, of what it could have."""
        wanted = None if validators is None else list(validators)
        return await self._all(QUERIES.list_effectiveness, Effectiveness, since=since, until=until, validators=wanted)

    @question(of="duties", upto="until", since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z")
    async def missed_streaks(self, since: datetime, until: datetime, at_least: int = 3) -> list[MissedStreak]:
        """Return runs of attestations missed in a row, the longest first."""
        return await self._all(QUERIES.list_missed_streaks, MissedStreak, since=since, until=until, at_least=at_least)

    @question(of="duties", upto="until", since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z")
    async def missed_duties(self, since: datetime, until: datetime) -> list[MissedDuty]:
        """Return attestations that no block included over a span of time, with the reason and whom to ask."""
        return await self._all(QUERIES.list_missed_duties, MissedDuty, since=since, until=until)

    @question(of="duties", upto="until", since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z")
    async def missing_often(self, since: datetime, until: datetime, at_least: int = 3) -> list[MissedOften]:
        """Return validators that missed at least so many attestations over a span of time, in a row or not."""
        return await self._all(QUERIES.list_missing_often, MissedOften, since=since, until=until, at_least=at_least)

    @question(of="duties", upto="until", validator_index=100_007, since="2026-11-20T00:00:00Z", until="2026-11-21T00:00:00Z")
    async def duties_of(self, validator_index: int, since: datetime, until: datetime) -> list[AttestationDuty]:
        """Return the attestation duties of one validator over a span of time, oldest first."""
        return await self.duties.between(since, until, validator_index=validator_index).all()

    # Alerts ----------------------------------------------------------------------------------------------------------

    @question(now=_ALERTS)
    async def alerts_raised(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        status: AlertResolution | None = None,
        severity: AlertSeverity | None = None,
        alert_type: AlertType | None = None,
        validator_index: int | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Return alerts by any of state, least severity, type and validator over a span of time, by default the last 30 days, newest first."""
        end = until or datetime.now(UTC)
        return await self._all(
            QUERIES.list_alerts,
            Alert,
            since=since or end - timedelta(days=30),
            until=end,
            resolution_status=status,
            severity=severity,
            alert_type=alert_type,
            validator_index=validator_index,
            limit=limit,
        )

    @question(now=_ALERTS, severity="warning")
    async def unresolved_alerts(self, severity: AlertSeverity = AlertSeverity.INFO, limit: int = 100) -> list[OpenAlert]:
        """Return unresolved alerts of at least a severity, the gravest and newest first."""
        return await self._all(QUERIES.list_unresolved_alerts, OpenAlert, severity=severity, limit=limit)

    @question(now=_ALERTS)
    async def unresolved_by_severity(self) -> list[SeverityCount]:
        """Return how many alerts of each severity are unresolved."""
        return await self._all(QUERIES.count_unresolved_alerts, SeverityCount)

    async def raise_alert(
        self,
        alert_type: AlertType,
        severity: AlertSeverity,
        message: str,
        *,
        dedupe_key: str,
        validator_index: int | None = None,
        slot: int | None = None,
        epoch: int | None = None,
        details: Any = None,
        at: datetime | None = None,
    ) -> RaisedAlert:
        """Raise an alert, or count it once more if the one with this `dedupe_key` is unresolved; a graver sighting makes it graver."""
        raised = await self._one(
            QUERIES.raise_alert,
            RaisedAlert,
            alert_type=alert_type,
            severity=severity,
            message=message,
            dedupe_key=dedupe_key,
            validator_index=validator_index,
            slot=slot,
            epoch=epoch,
            details=None if details is None else Jsonb(details),
            at=at or datetime.now(UTC),
        )
        if raised is None:
            raise AssertionError("raising gives the alert")
        return raised

    async def acknowledge_alert(self, alert: UUID, by: str, *, at: datetime | None = None) -> Alert:
        """Take an open alert on; raise `RowNotFound` for one that is not open."""
        if await self._value(QUERIES.acknowledge_alert, id=alert, by=by, at=at or datetime.now(UTC)) is None:
            raise RowNotFound("open alerts", {"id": alert}, hint="It is acknowledged or resolved already, or there is none.")
        return await self.alerts.need(alert)

    async def resolve_alert(
        self, alert: UUID, by: str, *, note: str | None = None, dismiss: bool = False, at: datetime | None = None
    ) -> Alert:
        """End an unresolved alert: resolved, or dismissed as no trouble at all; raise `RowNotFound` for one that has ended."""
        status = AlertResolution.DISMISSED if dismiss else AlertResolution.RESOLVED
        found = await self._value(QUERIES.resolve_alert, id=alert, by=by, note=note, resolution_status=status, at=at or datetime.now(UTC))
        if found is None:
            raise RowNotFound("unresolved alerts", {"id": alert}, hint=_UNRESOLVED)
        return await self.alerts.need(alert)


REPOSITORY = Validators
