"""What follows from what is known: whether a mirror can go on where it is, and how it goes. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chainstrata.cdc.errors import DatasetStopped, SlotLost
from chainstrata.cdc.model import show_lsn
from chainstrata.cdc.sink import Position, Taken
from chainstrata.cdc.slot import Server, Slot


@dataclass(frozen=True, slots=True)
class Health:
    """Slot and server as they were found. `switches` says where each earlier timeline ended."""

    slot: Slot | None
    server: Server
    switches: Mapping[int, int]


def judge(dataset: str, position: Position | None, health: Health) -> SlotLost | None:
    """Return why a dataset whose mirror has rows cannot go on from where it is, if it cannot."""
    hint = f"Run `chainstrata cdc resync {dataset}`: it is copied anew."
    if position is None or not position.lsn:
        return SlotLost(f"{dataset}: the mirror does not know how far it is; it was emptied or put back from elsewhere", hint=hint)
    if position.system != health.server.system:
        return SlotLost(f"{dataset}: the mirror was made from another server ({position.system})", hint=hint)
    switch = health.switches.get(position.timeline)
    end = health.server.log_end if switch is None else min(switch, health.server.log_end)
    if position.lsn > end:
        return SlotLost(
            f"{dataset}: the mirror is at {show_lsn(position.lsn)}, but this server's log only has it up to {show_lsn(end)}:"
            " it went back, or another took over that was behind",
            hint=hint,
        )
    if health.slot is None:
        return SlotLost(f"{dataset}: the replication slot is gone, and changes after {show_lsn(position.lsn)} with it", hint=hint)
    if health.slot.lost:
        return SlotLost(f"{dataset}: the replication slot fell so far behind that the server gave it up", hint=hint)
    if health.slot.confirmed > position.lsn:
        problem = f"{dataset}: the slot begins at {show_lsn(health.slot.confirmed)}, after {show_lsn(position.lsn)} where the mirror is"
        return SlotLost(problem, hint=hint)
    return None


def read_switches(histories: Iterable[str]) -> dict[int, int]:
    """Return where each timeline ended, from the server's history files."""
    found = {}
    for history in histories:
        for line in history.splitlines():
            parts = line.split()
            if len(parts) >= 2 and parts[0].isdigit() and "/" in parts[1]:
                high, _, low = parts[1].partition("/")
                found[int(parts[0])] = int(high, 16) << 32 | int(low, 16)
    return found


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return what 50, 95 and 99 of 100 values do not exceed."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[last * 50 // 100], ordered[last * 95 // 100], ordered[last * 99 // 100])


def refuse_too_many(name: str, taken: Taken, most: int) -> None:
    """Stop where so much cannot be taken that something must be wrong with all of it."""
    if len(taken.rejected) > most:
        problem = f"{len(taken.rejected)} of {taken.rows} changes could not be taken, as {taken.rejected[0].detail}"
        raise DatasetStopped(name, problem, hint=f"Mend the cause, then run `chainstrata cdc resume {name}`.")
