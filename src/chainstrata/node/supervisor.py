"""Services and what keeps them running: one that fails is started again after a pause, and its failure stays visible.

This is the only place that catches every exception: whatever a service stumbles over must not take the others down.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Final, Protocol

from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError
from chainstrata.monitor import ServiceState, ServiceStatus

LOGGER: Final = logging.getLogger("chainstrata.node.supervisor")


class Service(Protocol):
    """Something that runs as long as the node does."""

    @property
    def name(self) -> str: ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in hand and return.

        Raising, or returning before `stop` is set, is a failure: `run` is called again after a pause. It must therefore
        open what it needs itself and close it however it ends.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between starts, in seconds: doubled from `first` to `longest`, from the start again after `healthy` seconds."""

    first: float = 0.5
    longest: float = 60.0
    healthy: float = 300.0

    def pause(self, failures: int) -> float:
        """Return the pause after so many failures in a row, spread so that services do not fail in step."""
        spread = random.uniform(0.75, 1.25)  # noqa: S311
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 30)) * spread)


class Supervisor:
    """Runs services: `async with Supervisor(services) as supervisor`. Leaving it stops them all.

    Services `underneath` are what the others stand on: they are asked to stop when the others have ended. `grace` is how many
    seconds all have to finish what is in hand; `hurry` ends that time at once.
    """

    def __init__(
        self, services: Iterable[Service], *, underneath: Iterable[Service] = (), grace: float = 30.0, back_off: BackOff | None = None
    ) -> None:
        self._grace = grace
        self._hurry = asyncio.Event()
        self._services = _Stage(services, back_off or BackOff())
        self._underneath = _Stage(underneath, back_off or BackOff())

    async def __aenter__(self) -> "Supervisor":
        self._services.start()
        self._underneath.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def status(self) -> list[ServiceStatus]:
        """Return how every service is."""
        return [run.status() for run in [*self._services.runs, *self._underneath.runs]]

    def hurry(self) -> None:
        """Give up waiting for services to finish."""
        self._hurry.set()

    async def stop(self) -> None:
        """Ask all services to finish; cancel those that have not when the time is over. Raises nothing they raise."""
        deadline = monotonic() + self._grace
        try:
            await self._services.end(self._hurry, deadline)
        finally:
            await self._underneath.end(self._hurry, deadline)


class _Stage:
    """Services that stop together."""

    def __init__(self, services: Iterable[Service], back_off: BackOff) -> None:
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.runs = [_Run(service, self._stop, back_off) for service in services]

    def start(self) -> None:
        self._tasks = [asyncio.create_task(run.keep_running(), name=run.service.name) for run in self.runs]

    async def end(self, hurry: asyncio.Event, deadline: float) -> None:
        self._stop.set()
        running = [task for task in self._tasks if not task.done()]
        if not running:
            return
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(hurry.wait()), asyncio.create_task(_all_ended(running))]
        try:
            await asyncio.wait(ends, timeout=max(0.0, deadline - monotonic()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            for task in running:
                if not task.done():
                    LOGGER.warning("service %s did not finish in time, it is ended", task.get_name())
                    task.cancel()
            await asyncio.wait(running)


class _Run:
    """One service and its history."""

    def __init__(self, service: Service, stop: asyncio.Event, back_off: BackOff) -> None:
        self.service = service
        self._stop = stop
        self._back_off = back_off
        self._state = ServiceState.RUNNING
        self._since = datetime.now(UTC)
        self._restarts = 0
        self._error = ""

    def status(self) -> ServiceStatus:
        return ServiceStatus(self.service.name, self._state, self._since, self._restarts, self._error)

    async def keep_running(self) -> None:
        failures = 0
        while True:
            started = monotonic()
            self._enter(ServiceState.RUNNING)
            error = await self._run_once()
            if self._stop.is_set():
                self._enter(ServiceState.STOPPED)
                return
            failures = 1 if monotonic() - started > self._back_off.healthy else failures + 1
            self._error = error
            self._enter(ServiceState.RESTARTING)
            pause = self._back_off.pause(failures)
            LOGGER.error("service %s failed: %s; it starts again in %.1f s", self.service.name, error, pause)
            if await happened(self._stop, pause):
                self._enter(ServiceState.STOPPED)
                return
            self._restarts += 1

    async def _run_once(self) -> str:
        """Run the service and return why it ended."""
        try:
            await self.service.run(self._stop)
        except ChainStrataError as error:
            return error.message
        except Exception as error:  # see the module's docstring
            LOGGER.exception("service %s", self.service.name)
            return f"{type(error).__name__}: {error}"
        return "it ended by itself"

    def _enter(self, state: ServiceState) -> None:
        self._state = state
        self._since = datetime.now(UTC)


async def _all_ended(tasks: Sequence["asyncio.Task[None]"]) -> None:
    await asyncio.wait(tasks)
