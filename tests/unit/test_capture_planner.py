"""Whether a mirror can go on where it is, as far as slot, server and timelines tell."""

import pytest

from chainstrata.cdc.planner import Health, judge, percentiles, read_switches
from chainstrata.cdc.sink import Position
from chainstrata.cdc.slot import Server, Slot

HERE = Position("demo.accounts", 1000, "1", 2)
SERVER = Server(180_000, "1", 2, 5000)
SLOT = Slot(active=False, confirmed=900, status="reserved", kept_bytes=0, behind_bytes=0, safe_bytes=None)


def slot(confirmed: int = 900, status: str = "reserved") -> Slot:
    return Slot(active=False, confirmed=confirmed, status=status, kept_bytes=0, behind_bytes=0, safe_bytes=None)


@pytest.mark.conforms("S1-155")
@pytest.mark.parametrize(
    ("position", "health", "problem"),
    [
        pytest.param(HERE, Health(SLOT, SERVER, {1: 800}), "", id="all well"),
        pytest.param(None, Health(SLOT, SERVER, {}), "does not know how far it is", id="mirror emptied"),
        pytest.param(Position("demo.accounts", 1000, "7", 2), Health(SLOT, SERVER, {}), "another server", id="another server"),
        pytest.param(Position("demo.accounts", 6000, "1", 2), Health(SLOT, SERVER, {}), "only has it up to 0/1388", id="server went back"),
        pytest.param(
            Position("demo.accounts", 1000, "1", 1),
            Health(SLOT, SERVER, {1: 999}),
            "another took over that was behind",
            id="failover behind",
        ),
        pytest.param(Position("demo.accounts", 1000, "1", 1), Health(SLOT, SERVER, {1: 1000}), "", id="failover with everything"),
        pytest.param(HERE, Health(None, SERVER, {}), "slot is gone", id="slot gone"),
        pytest.param(HERE, Health(slot(status="lost"), SERVER, {}), "gave it up", id="slot lost"),
        pytest.param(HERE, Health(slot(confirmed=1001), SERVER, {}), "the slot begins at 0/3E9", id="slot moved on"),
        pytest.param(HERE, Health(slot(confirmed=1000), SERVER, {}), "", id="slot exactly there"),
    ],
)
def test_a_mirror_goes_on_only_where_nothing_is_missing(position: Position | None, health: Health, problem: str) -> None:
    found = judge("demo.accounts", position, health)
    if problem:
        assert found is not None
        assert problem in found.message
        assert "cdc resync demo.accounts" in found.hint
    else:
        assert found is None


def test_timelines_are_read_from_the_servers_histories() -> None:
    assert read_switches(["1\t0/3000000\tno recovery target specified\n\n2\t1/A0\tsomething\n"]) == {1: 0x3000000, 2: (1 << 32) + 0xA0}


def test_percentiles_are_values_that_were_there() -> None:
    assert percentiles([0.5]) == (0.5, 0.5, 0.5)
    assert percentiles([float(n) for n in range(101)]) == (50.0, 95.0, 99.0)
