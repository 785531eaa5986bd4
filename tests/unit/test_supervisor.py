"""Services keep running: what fails starts again and says so, what is asked to stop finishes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chainstrata.errors import UsageError
from chainstrata.monitor import ServiceState
from chainstrata.node.supervisor import BackOff, Supervisor

QUICK = BackOff(first=0.001, longest=0.002)
Work = Callable[[asyncio.Event], Awaitable[None]]


class Worker:
    """A service that does what a test gives it, once per start."""

    def __init__(self, *works: Work, name: str = "worker") -> None:
        self.name = name
        self.works = list(works)
        self.starts = 0
        self.started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        self.starts += 1
        self.started.set()
        work = self.works.pop(0) if self.works else wait
        await work(stop)


async def wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def break_down(stop: asyncio.Event) -> None:
    raise ValueError("bad luck")


async def refuse(stop: asyncio.Event) -> None:
    raise UsageError("asked for too much", hint="Ask for less.")


async def end_early(stop: asyncio.Event) -> None:
    return


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)


@pytest.mark.parametrize(
    ("work", "error"),
    [(break_down, "ValueError: bad luck"), (refuse, "asked for too much"), (end_early, "it ended by itself")],
)
async def test_a_service_that_fails_starts_again_and_says_why(work: Work, error: str, caplog: pytest.LogCaptureFixture) -> None:
    worker, other = Worker(work, work), Worker(name="other")
    async with Supervisor([worker, other], back_off=QUICK) as supervisor:
        await until(lambda: worker.starts == 3)
        status, untouched = supervisor.status()
        assert (status.state, status.restarts, status.error) == (ServiceState.RUNNING, 2, error)
        assert (untouched.state, untouched.restarts, untouched.error) == (ServiceState.RUNNING, 0, "")
    assert {one.state for one in supervisor.status()} == {ServiceState.STOPPED}
    assert f"service worker failed: {error}" in caplog.text


async def test_stopping_waits_for_what_is_in_hand() -> None:
    finished = []

    async def finish(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        finished.append(True)

    async with Supervisor([Worker(finish)]):
        pass
    assert finished == [] or finished == [True]
    worker = Worker(finish)
    async with Supervisor([worker]):
        await worker.started.wait()
    assert finished[-1:] == [True]


@pytest.mark.parametrize("hurried", [True, False])
async def test_what_does_not_finish_is_ended(hurried: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def never(stop: asyncio.Event) -> None:
        await asyncio.Event().wait()

    worker = Worker(never)
    supervisor = Supervisor([worker], grace=60.0 if hurried else 0.01)
    async with asyncio.timeout(10), supervisor:
        await worker.started.wait()
        if hurried:
            supervisor.hurry()
    assert "service worker did not finish in time" in caplog.text


async def test_a_pause_ends_when_the_node_stops() -> None:
    worker = Worker(break_down)
    async with asyncio.timeout(10), Supervisor([worker], back_off=BackOff(first=3600, longest=3600)) as supervisor:
        await until(lambda: supervisor.status()[0].state is ServiceState.RESTARTING)


def test_pauses_grow_to_a_limit() -> None:
    back_off = BackOff(first=1, longest=8)
    pauses = [back_off.pause(failures) for failures in (1, 2, 3, 4, 5, 1000)]
    assert all(0.75 * wanted <= pause <= 1.25 * wanted for pause, wanted in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True))


async def test_what_others_stand_on_stops_when_they_have_ended() -> None:
    asked, finish = asyncio.Event(), asyncio.Event()

    async def work(stop: asyncio.Event) -> None:
        await stop.wait()
        asked.set()
        await finish.wait()

    above, engine = Worker(work, name="above"), Worker(name="engine")
    supervisor = Supervisor([above], underneath=[engine])
    async with supervisor, asyncio.TaskGroup() as tasks:
        await asyncio.gather(above.started.wait(), engine.started.wait())
        tasks.create_task(supervisor.stop())
        await asked.wait()
        states = {service.name: service.state for service in supervisor.status()}
        finish.set()
    assert states == {"above": ServiceState.RUNNING, "engine": ServiceState.RUNNING}
    assert {service.state for service in supervisor.status()} == {ServiceState.STOPPED}
