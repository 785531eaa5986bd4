"""A server that is a child of this process: started, watched, started again when it dies, and stopped when we stop.

What it is and how it is launched is up to each engine; this is what all of them do.
"""

import asyncio
import contextlib
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import ClassVar, Final, Generic, Self, TypeVar

from chainstrata.engines.postgres.home import unusable
from chainstrata.engines.postgres.serverlog import ServerLog
from chainstrata.engines.postgres.waiting import happened
from chainstrata.errors import ChainStrataError

_LOG_CHECK: Final = 10.0
_DEATHS: Final = 5
_WITHIN: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_NO_SPACE_PACE: Final = 2.0


class ServerState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """Something the server's start, watch or stop did, for one line of output."""

    name: str
    detail: str
    seconds: float


Progress = Callable[[Step], None]
Ending = tuple[signal.Signals, float]
"""A signal that ends the server, and how many seconds it has before the next, harder one."""
Failure = TypeVar("Failure", bound=ChainStrataError)


class ChildServer(ABC, Generic[Failure]):
    """Use as `async with`: entering it returns when the server is ready. While it runs, `state` says how it is."""

    title: ClassVar[str]
    label: ClassVar[str]
    """Its name in front of a step."""
    failures: ClassVar[tuple[type[ChainStrataError], ...]]
    """What a launch may raise."""
    disk_full: ClassVar[type[ChainStrataError]]

    def __init__(self, home: Path, log: ServerLog, logger: logging.Logger, progress: Progress | None) -> None:
        self._home = home
        self._log = log
        self._logger = logger
        self._progress = progress
        self._stop_wanted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.state = ServerState.STOPPED
        self.error: ChainStrataError | None = None
        self.restarts = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process number, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    # What each engine does in its own way ------------------------------------------------------------------------

    @abstractmethod
    async def _open(self) -> None:
        """Take what the server needs, and launch it the first time."""

    @abstractmethod
    async def _launch_again(self) -> None:
        """Launch it after it died."""

    @abstractmethod
    def _endings(self) -> Sequence[Ending]: ...

    @abstractmethod
    def _start_error(self, message: str) -> Failure:
        """Return what it means that the server did not come up or died, as its log has it."""

    @abstractmethod
    def _limit(self, deaths: int, seconds: float, cause: str) -> Failure: ...

    def _given_up(self) -> None:
        """What more is to be done when it is left down."""

    def _let_go(self) -> None:
        """Give back what `_open` took."""
        self._log.close()
        self._watcher = None
        self._stop_wanted = asyncio.Event()
        self.state = ServerState.STOPPED

    # Start and stop ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the server, from nothing if need be. Raises one of `failures`, or what makes the home unusable."""
        self.state = ServerState.STARTING
        self.error = None
        opened = False
        try:
            await self._open()
            opened = True
        except OSError as error:
            raise unusable(self._home, error) from error
        finally:
            if not opened:
                await self._end_process()
                self._let_go()
        self.state = ServerState.RUNNING
        self._watcher = asyncio.create_task(self._watch(), name=f"{self.label}-watcher")

    async def stop(self) -> None:
        """Stop the server: gently, and when that takes too long by force, which the next start recovers from."""
        if self.state is ServerState.STOPPED:
            return
        self._stop_wanted.set()
        started = monotonic()
        try:
            if self._watcher is not None:
                await self._watcher
        finally:
            running = self.pid is not None
            self.state = ServerState.STOPPING
            await self._end_process()
            self._let_go()
        if running:
            self._say("stopped", started)

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number, seconds in self._endings():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                async with asyncio.timeout(seconds):
                    await process.wait()
            except TimeoutError:
                self._logger.warning("%s did not end within %g s of %s", self.title, seconds, number.name)
            else:
                return

    # While it runs -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Start the server again when it dies, until it is to stop or dies too often."""
        deaths: list[float] = []
        while (process := self._process) is not None and not await self._ended_by_itself(process):
            deaths = [moment for moment in deaths if monotonic() - moment < _WITHIN] + [monotonic()]
            self.error = self._start_error(f"{self.title} died with status {process.returncode}")
            self.state = ServerState.RESTARTING
            self._say(f"died with status {process.returncode}, starting it again", monotonic())
            if not await self._restart(deaths):
                return
            self.restarts += 1
            self.error = None
            self.state = ServerState.RUNNING

    async def _ended_by_itself(self, process: asyncio.subprocess.Process) -> bool:
        """Wait until the server has died (False) or is to stop (True). Keeps its log small meanwhile."""
        died = asyncio.ensure_future(process.wait())
        stop = asyncio.ensure_future(self._stop_wanted.wait())
        try:
            while not (died.done() or stop.done()):
                await asyncio.wait({died, stop}, timeout=_LOG_CHECK, return_when=asyncio.FIRST_COMPLETED)
                self._log.rotate()
            return stop.done()
        finally:
            died.cancel()
            stop.cancel()

    async def _restart(self, deaths: list[float]) -> bool:
        """Start the server again, at once the first time, then after growing pauses. False: it is to stop, or is given up."""
        while len(deaths) <= _DEATHS:
            pause = min(_FIRST_PAUSE * 4 ** (len(deaths) - 2), _WITHIN / _DEATHS) if len(deaths) > 1 else 0.0
            if await happened(self._stop_wanted, pause):
                return False
            try:
                await self._launch_again()
            except OSError as error:
                # No process to be had, no memory, or the home is gone.
                self.error = unusable(self._home, error)
                deaths.append(monotonic())
            except self.disk_full as error:
                # Not a fault of the server: it comes back as soon as there is space.
                self.error = error
                if await happened(self._stop_wanted, _NO_SPACE_PACE):
                    return False
            except self.failures as error:
                self.error = error
                deaths.append(monotonic())
            else:
                return True
        cause = self.error.message if self.error is not None else "unknown"
        self.error = self._limit(len(deaths), monotonic() - deaths[0], cause)
        self.state = ServerState.FAILED
        self._say(self.error.message, deaths[0])
        self._given_up()
        return False

    def _say(self, detail: str, since: float, *, name: str = "") -> None:
        step = Step(name or self.label, detail, monotonic() - since)
        self._logger.info("%s: %s (%.3f s)", step.name, step.detail, step.seconds)
        if self._progress is not None:
            self._progress(step)
