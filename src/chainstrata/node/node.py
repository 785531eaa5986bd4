"""The node process: starts what has no URL, brings everything up to date, serves until it is asked to stop.

Starting and stopping are one stack: what was opened last is closed first, also when a start is interrupted or fails. The
lock of the home is held throughout, so a second node on it is refused; the kernel frees it when the node is killed.
"""

import asyncio
import gc
import logging
import os
import platform as machine
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Final

from chainstrata import __version__, monitor
from chainstrata.config import (
    CDC_ENABLED,
    CLICKHOUSE_URL,
    JOBS_AT_ONCE,
    JOBS_LEASE,
    LOG_LEVEL,
    MODE,
    NODE_HOST,
    NODE_PORT,
    NODE_STOP_TIMEOUT,
    PACKS,
    POSTGRES_URL,
    ROLLUPS_EVERY,
    Config,
)
from chainstrata.engines.clickhouse import why_missing
from chainstrata.engines.postgres import Database, EmbeddedPostgres, HomeLock, NodeRecord, Step, Target
from chainstrata.engines.postgres.errors import CannotConnect
from chainstrata.engines.postgres.home import prepare_home, write_whole
from chainstrata.engines.postgres.processes import read_process
from chainstrata.errors import ChainStrataError
from chainstrata.jobs import Lease, Schedule
from chainstrata.node.columnar import ColumnarAccess, ColumnarService
from chainstrata.node.demo import demo_services
from chainstrata.node.http import Application, HttpService, address_of, bind, is_loopback
from chainstrata.node.logs import logging_to
from chainstrata.node.platform import Platform
from chainstrata.node.recurring import Recurring
from chainstrata.node.report import Reporter, reported
from chainstrata.node.rollups import RollupService
from chainstrata.node.spool import SpoolService
from chainstrata.node.supervisor import Service, Supervisor
from chainstrata.node.watch import Watch
from chainstrata.packs import load_catalog

LOGGER: Final = logging.getLogger("chainstrata.node")
if TYPE_CHECKING:
    from chainstrata.migrate import Progress

FIRST_KEY: Final = "api_key"
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Web = Callable[[Platform, Callable[[], monitor.NodeStatus]], Application]
"""Makes the application that the node serves; the function it gets tells how the node is."""


class Node:
    """One node. `await Node(config, load_web=..., reporter=...).run()` returns when it has stopped cleanly."""

    def __init__(self, config: Config, *, load_web: Callable[[], Web], reporter: Reporter) -> None:
        self.config = config
        self._load_web = load_web
        self._reporter = reporter
        self._stop = asyncio.Event()
        self._signals = 0
        self._main: asyncio.Task[None] | None = None
        self._supervisor: Supervisor | None = None
        self._server: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self._columnar: ColumnarAccess | None = None
        self._failure: ChainStrataError | None = None
        self._address = ""
        self._began = monotonic() - _process_age()
        self._started = datetime.now(UTC)

    async def run(self) -> None:
        """Start, serve and stop. Raises what keeps the node from starting or going on."""
        loop = asyncio.get_running_loop()
        # Under nohup a terminal that closes is no reason to stop.
        watched = [*STOP_SIGNALS, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else [])]
        for number in watched:
            loop.add_signal_handler(number, self._on_signal)
        self._main = asyncio.create_task(self._run(), name="node")
        try:
            with suppress(asyncio.CancelledError):
                await self._main
        finally:
            for number in watched:
                loop.remove_signal_handler(number)
        if self._failure is not None:
            raise self._failure

    def _on_signal(self) -> None:
        """Stop; asked again, stop at once: nothing that was acknowledged depends on a clean end."""
        self._signals += 1
        self._reporter.stopping(hurry=self._signals > 1)
        if not self._stop.is_set():
            self._stop.set()
            if not self._address and self._main is not None:
                self._main.cancel()
        elif self._supervisor is not None:
            self._supervisor.hurry()
            if self._server is not None and self._server.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._server.pid, signal.SIGQUIT)

    async def _run(self) -> None:
        version = f"chainstrata {__version__}, Python {machine.python_version()}"
        self._reporter.done(Step("program", version, monotonic() - self._began))
        async with AsyncExitStack() as stack:
            prepare_home(self.config.home)
            lock = stack.enter_context(HomeLock(self.config.home))
            NodeRecord.remove(self.config.home)
            stack.enter_context(logging_to(self.config.home / "logs", self.config[LOG_LEVEL]))
            # The slowest imports, had while the engine starts.
            web = asyncio.create_task(asyncio.to_thread(self._import_ahead), name="import")
            stack.callback(web.cancel)
            platform = await self._open_platform(stack, lock)
            await self._bring_up_to_date(platform)
            address = await self._serve(stack, platform, web)
            # What is there now stays until the end, and need not be looked through for garbage.
            gc.freeze()
            seconds = monotonic() - self._began
            LOGGER.info("node %s is up at %s after %.2f s, process %d", __version__, address, seconds, os.getpid())
            self._reporter.ready(address, seconds)
            await self._stop.wait()
            LOGGER.info("node stops")

    def _import_ahead(self) -> Web:
        import_module("chainstrata.migrate")
        return self._load_web()

    async def _open_platform(self, stack: AsyncExitStack, lock: HomeLock) -> Platform:
        with reported(self._reporter, "settings") as detail:
            catalog = load_catalog([*self.config[PACKS]])
            given = sum(value.origin != "default" for value in self.config.explain())
            detail.text = f"{len(catalog.packs)} packs, {len(catalog)} datasets, {given} settings given, home {self.config.home}"
        target = await self._open_engine(stack, lock)
        with reported(self._reporter, "pool") as detail:
            database = await stack.enter_async_context(Database(target.conninfo, self.config))
            self._database = database
            detail.text = f"{database.stats().min_size} to {database.stats().max_size} connections"
        access = ColumnarAccess(self.config, stopping=self._stop)
        self._columnar = access
        return Platform(self.config, catalog, database, target, access)

    async def _open_engine(self, stack: AsyncExitStack, lock: HomeLock) -> Target:
        if self.config[POSTGRES_URL]:
            return Target(self.config[POSTGRES_URL], "url")
        if self.config[MODE] == "production":
            hint = "Set postgres.url: in production mode nothing is started in its place."
            raise CannotConnect("no PostgreSQL is configured", hint=hint)
        self._reporter.begin("postgres")
        server = await stack.enter_async_context(EmbeddedPostgres(self.config, progress=self._reporter.done, lock=lock))
        self._server = server
        watcher = asyncio.create_task(self._watch(server), name="postgres-failure")
        stack.callback(watcher.cancel)
        return Target(server.conninfo, "embedded", server)

    async def _watch(self, server: EmbeddedPostgres) -> None:
        """Stop the node when its server is given up."""
        self._failure = await server.wait_failed()
        self._stop.set()

    async def _bring_up_to_date(self, platform: Platform) -> None:
        """Apply migrations, and make partitions ahead."""
        with reported(self._reporter, "migrate") as detail:
            detail.text = await platform.migrate_up(self._watch_migration)
        with reported(self._reporter, "partitions") as detail:
            detail.text = await platform.make_partitions()

    def _watch_migration(self, progress: "Progress") -> None:
        if progress.kind in ("wait", "retry"):
            LOGGER.warning("migrate: %s", progress.text)
        elif progress.kind == "done":
            LOGGER.info("migrate: %s took %.3f s", progress.text, progress.seconds or 0.0)
        self._reporter.begin(f"migrate {progress.text}")

    async def _serve(self, stack: AsyncExitStack, platform: Platform, web: "asyncio.Task[Web]") -> str:
        with reported(self._reporter, "look") as detail:
            watch = Watch(platform)
            findings = await watch.look()
            detail.text = "; ".join(f"{one.severity}: {one.object}: {one.message}" for one in findings) or "nothing wrong"
        await self._make_first_key(platform)
        with reported(self._reporter, "services") as detail:
            listener = bind(self.config[NODE_HOST], self.config[NODE_PORT])
            stack.callback(listener.close)
            self._address = address_of(listener)
            services: list[Service] = [
                HttpService((await web)(platform, self.status), listener),
                RollupService(platform.rollups, every=self.config[ROLLUPS_EVERY]),
                SpoolService(platform),
                self._schedule(platform),
                Recurring("audit", timedelta(minutes=1), platform.catch_up_audit),
                watch,
            ]
            underneath: list[Service] = []
            if self._columnar is not None and not why_missing(self.config):
                underneath.append(ColumnarService(platform, self._columnar))
                if self._keeps_mirrors():
                    from chainstrata.node.cdc import CaptureService

                    services.append(CaptureService(platform.mirrors))
            if any(pack.backfills for pack in platform.catalog.packs):
                services.append(platform.backfill_workers())
            services += demo_services(platform)
            grace = self.config[NODE_STOP_TIMEOUT].total_seconds()
            self._supervisor = await stack.enter_async_context(Supervisor(services, underneath=underneath, grace=grace))
            detail.text = ", ".join(service.name for service in [*services, *underneath])
        ports = {"http": int(listener.getsockname()[1])}
        if self._server is not None:
            ports["postgres"] = self._server.port
        versions = {"chainstrata": __version__, "python": machine.python_version(), "postgres": str(platform.database.server_version)}
        NodeRecord.of_this_process(ports, address=self._address, versions=versions).write(self.config.home)
        stack.callback(NodeRecord.remove, self.config.home)
        return self._address

    async def _make_first_key(self, platform: Platform) -> None:
        """On a machine of one's own the first key is made and told, so that there is one to begin with."""
        if platform.target.kind == "url" or not is_loopback(self.config[NODE_HOST]):
            return
        with reported(self._reporter, "key") as detail:
            path = self.config.home / "secrets" / FIRST_KEY
            issued = await platform.keys.create_first()
            if issued is not None:
                write_whole(path, issued.secret + "\n")
                detail.text = f"{issued.secret} may do everything; it is kept in {path}"
            else:
                detail.text = f"the first one is in {path}" if path.exists() else "`chainstrata keys list` names them"

    def _keeps_mirrors(self) -> bool:
        """Whether mirrors are kept up. Not unasked on a server of somebody else: it keeps its log for them while no node runs."""
        wanted = self.config[CDC_ENABLED]
        return wanted == "on" or (wanted == "auto" and not self.config[POSTGRES_URL] and not self.config[CLICKHOUSE_URL])

    def _schedule(self, platform: Platform) -> Schedule:
        lease = Lease(self.config[JOBS_LEASE].total_seconds())
        # Jobs that are cancelled have a moment to note it before the node gives up waiting.
        stop_within = self.config[NODE_STOP_TIMEOUT].total_seconds() * 2 / 3
        return Schedule(platform.jobs, lease=lease, at_once=self.config[JOBS_AT_ONCE], stop_within=stop_within)

    def status(self) -> monitor.NodeStatus:
        """Return how the node itself is."""
        services = tuple(self._supervisor.status()) if self._supervisor is not None else ()
        return monitor.NodeStatus(
            pid=os.getpid(),
            version=__version__,
            python=machine.python_version(),
            mode=self.config[MODE],
            home=str(self.config.home),
            address=self._address,
            started=self._started,
            uptime_seconds=round(monotonic() - self._began, 3),
            services=services,
            pool=_pool(self._database) if self._database is not None else None,
        )


def _process_age() -> float:
    """Return how long ago this process was started, so that what it took to import counts as part of the start."""
    me = read_process(os.getpid())
    if me is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - me.born / os.sysconf("SC_CLK_TCK"))


def _pool(database: Database) -> monitor.PoolStatus:
    stats = database.stats()
    return monitor.PoolStatus(
        size=stats.size,
        used=stats.used,
        waiting=stats.waiting,
        min_size=stats.min_size,
        max_size=stats.max_size,
        wait_p50=stats.wait_p50,
        wait_p95=stats.wait_p95,
        wait_max=stats.wait_max,
        acquire_timeouts=stats.acquire_timeouts,
        connections_lost=stats.connections_lost,
        queries=stats.queries,
        slow_queries=stats.slow_queries,
        errors=sum(stats.errors.values()),
    )
