"""`Platform`: settings, catalog, database and the features wired together. What every edge, and a user's program, works with."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from chainstrata import monitor, partitions
from chainstrata.access import Audit, Keys
from chainstrata.config import BACKFILL_LEASE, BACKFILL_WORKERS, PACKS, Config, load_config
from chainstrata.engines.postgres import Database, PoolOptions, Step, Target, open_target
from chainstrata.engines.postgres.child import Progress
from chainstrata.errors import ChainStrataError, UnknownName, UsageError
from chainstrata.model import Catalog
from chainstrata.monitor.metrics import Figures
from chainstrata.node.columnar import ColumnarAccess
from chainstrata.node.metrics import Tally, measure
from chainstrata.node.spool import judge_spool
from chainstrata.packs import load_catalog
from chainstrata.query import Pulse, Reader, Tails
from chainstrata.rollups import Rollups

# Arrow and Alembic are large imports that most commands do without; they are had when they are used.
if TYPE_CHECKING:
    from chainstrata.backfill import Backfills, BackfillWorkers
    from chainstrata.cdc import Mirrors
    from chainstrata.engines.clickhouse import Columnar
    from chainstrata.ingest import Answer, Gate, Samples
    from chainstrata.ingest.columnar import ColumnarIngest
    from chainstrata.jobs import Jobs
    from chainstrata.migrate import Site
    from chainstrata.migrate.model import Watch
    from chainstrata.packs.insights.repository import Insights
    from chainstrata.packs.portfolio.market import Market
    from chainstrata.packs.portfolio.repository import Portfolio
    from chainstrata.packs.prices.repository import Prices
    from chainstrata.packs.relay.repository import Relay
    from chainstrata.packs.repository import ColumnarRepository, Repository
    from chainstrata.packs.validators.repository import Validators
    from chainstrata.retention import Dependant, Outcome, Retention
    from chainstrata.retention.archives import Archives
    from chainstrata.simulate import Simulation

__all__ = ["Platform", "Step", "connect"]


class Platform:
    """Everything at hand: `platform.catalog` is what is declared, `platform.database` where it is kept."""

    def __init__(
        self, config: Config, catalog: Catalog, database: Database, target: Target, columnar: ColumnarAccess | None = None
    ) -> None:
        self.config = config
        self.catalog = catalog
        self.database = database
        self.target = target
        self.rollups = Rollups(database, catalog, self._ensure_partitions)
        self.audit = Audit(database, config.home)
        """Who wrote what over HTTP."""
        self.keys = Keys(database, self.audit)
        self.reader = Reader(database, catalog)
        """Rows of any dataset: `platform.reader.rows("prices.minute", Wanted(limit=10))`."""
        self.pulse = Pulse(database, catalog)
        """How fresh answers are."""
        self.tails = Tails(database, catalog, self.pulse)
        """Rows as they come."""
        self.findings: tuple[monitor.Finding, ...] = ()
        """What longer looks in the background found last; a status includes it."""
        self.versions: tuple[monitor.SchemaVersion, ...] = ()
        """How far the schema of each pack is, as the same looks saw it."""
        self.tally = Tally()
        """What was taken in by this process."""
        self._sizes = monitor.Sizes()
        self._gate: Gate | None = None
        self._columnar = columnar or ColumnarAccess(config)
        self._columnar_ingest: ColumnarIngest | None = None

    def __repr__(self) -> str:
        return f"Platform({self.target.kind}, packs={[pack.name for pack in self.catalog.packs]})"

    async def ingest(self, dataset: str, source: Any, **options: Any) -> "Answer":
        """Take rows into a dataset, as `chainstrata.ingest.Gate.ingest` says, and return what became of them.

        They are committed when this returns, or, while PostgreSQL is away, safe on disk (`answer.spooled`). Small batches of many
        callers share transactions. Raises `TryLater` when there is no room for them.
        """
        try:
            if self.catalog.is_columnar(dataset):
                answer = await self.columnar_ingest.ingest(dataset, source, **options)
            else:
                answer = await self.gate.ingest(dataset, source, **options)
                self.pulse.wrote(answer.lsn)
        except ChainStrataError as error:
            self.tally.refuse(dataset, error)
            raise
        self.tally.took(answer)
        return answer

    async def rehearse(self, dataset: str, source: Any, **options: Any) -> "Answer":
        """Return what would become of rows, as `chainstrata.ingest.Ingest.rehearse` says, and write nothing."""
        from chainstrata.ingest import Ingest

        if self.catalog.is_columnar(dataset):
            raise UsageError(f"{dataset} is kept by the columnar engine, which undoes nothing", hint="Leave --dry-run out.")
        return await Ingest(self.database, self.catalog, self.rollups).rehearse(dataset, source, **options)

    @property
    def gate(self) -> "Gate":
        """The way in for rows: its queue, and its spool with what waits in it."""
        if self._gate is None:
            from chainstrata.ingest import Gate, GateOptions, Ingest, open_spool

            ingest = Ingest(self.database, self.catalog, self.rollups)
            options = GateOptions.from_config(self.config)
            self._gate = Gate(ingest, self.database, self.catalog, open_spool(self.config), options)
        return self._gate

    async def close(self) -> None:
        """End what runs in the background. What waits in the spool stays, for the node or the next program on this home."""
        if self._gate is not None:
            await self._gate.close()
        await self._columnar.close()

    def _find_spooled(self) -> list[monitor.Finding]:
        """Find what waits in the spool; nothing is imported for one that is not there."""
        if self._gate is None and not (self.config.home / "spool").is_dir():
            return []
        return list(judge_spool(self.gate.spool, self.gate.replayer.stuck))

    async def columnar(self) -> "Columnar":
        """Return the connection to the columnar engine; raise `ColumnarMissing`, or why it cannot be had."""
        return await self._columnar.get()

    @property
    def columnar_ingest(self) -> "ColumnarIngest":
        """The way of rows into datasets whose home is the columnar engine."""
        if self._columnar_ingest is None:
            from chainstrata.ingest.columnar import ColumnarIngest

            self._columnar_ingest = ColumnarIngest(self.database, self.catalog, self.columnar)
        return self._columnar_ingest

    async def migrate_columnar(self, columnar: "Columnar") -> str:
        """Apply all columnar revisions that are not applied; return a line on what was done."""
        from chainstrata.migrate import columnar as steps

        async with steps.locked(self.site):
            done = await steps.up(columnar, self.catalog)
        return f"{len(done)} columnar revisions applied" if done else "all columnar revisions applied"

    def repository(self, pack: str) -> "Repository":
        """Return what reads and writes a pack's tables: `platform.repository("tides").table("gauges")`."""
        from chainstrata.packs.repository import repository_class

        found = self.catalog.pack(pack)
        return repository_class(found)(found, self.database, self.rollups.read)

    async def columnar_repository(self, pack: str) -> "ColumnarRepository":
        """Return what answers a pack's questions by the columnar engine; raise `UnknownName` for a pack that has none."""
        from chainstrata.packs.repository import columnar_class

        found = columnar_class(self.catalog.pack(pack))
        if found is None:
            raise UnknownName(
                "pack with questions for the columnar engine", pack, [one.name for one in self.catalog.packs if columnar_class(one)]
            )
        return found(await self.columnar())

    async def market(self) -> "Market":
        """Return the questions about the market: `await (await platform.market()).top_movers(now)`."""
        return cast("Market", await self.columnar_repository("portfolio"))

    # A pack that comes with the product by its name, so that editors and type checkers know its questions.

    @property
    def insights(self) -> "Insights":
        return cast("Insights", self.repository("insights"))

    @property
    def portfolio(self) -> "Portfolio":
        return cast("Portfolio", self.repository("portfolio"))

    @property
    def prices(self) -> "Prices":
        return cast("Prices", self.repository("prices"))

    @property
    def relay(self) -> "Relay":
        return cast("Relay", self.repository("relay"))

    @property
    def validators(self) -> "Validators":
        return cast("Validators", self.repository("validators"))

    @property
    def samples(self) -> "Samples":
        """Sample data: `platform.samples.load("prices", "small")`."""
        from chainstrata.ingest import Samples

        return Samples(self.database, self.catalog, self._ensure_partitions, self.rollups)

    @property
    def simulation(self) -> "Simulation":
        """Streams that are made up: `platform.simulation.run("prices")`."""
        from chainstrata.simulate import Simulation

        return Simulation(self.catalog, self.ingest, self._ensure_partitions)

    @property
    def retention(self) -> "Retention":
        """Retention: `platform.retention.plan()` says what would leave now, and why the rest stays."""
        from chainstrata.node.cdc import MirrorNeeds
        from chainstrata.node.retention import RollupNeeds
        from chainstrata.retention import Options, Retention, archive_storage

        storage = archive_storage(self.config)
        needs: list[Dependant] = [RollupNeeds(self.rollups), MirrorNeeds(self.database, self.catalog)]
        return Retention(self.database, self.catalog, storage, dependants=needs, options=Options.from_config(self.config))

    @asynccontextmanager
    async def mirrors(self) -> "AsyncIterator[Mirrors]":
        """The mirrors in the columnar engine: `async with platform.mirrors() as mirrors: await mirrors.status()`."""
        from chainstrata.cdc import Mirrors
        from chainstrata.cdc import Options as CaptureOptions

        yield Mirrors(self.database, self.catalog, await self.columnar(), CaptureOptions.from_config(self.config))

    @property
    def archives(self) -> "Archives":
        """What has left its table: listed, checked, put back, read."""
        from chainstrata.retention import archive_storage
        from chainstrata.retention.archives import Archives

        return Archives(self.database, self.catalog, archive_storage(self.config))

    async def retain(self, names: Sequence[str] = ()) -> "Outcome":
        """Let everything go that is due and not needed. Roll-ups are brought up to date first, so that they need nothing."""
        await self.rollups.refresh(names)
        return await self.retention.run(names)

    async def retain_all(self) -> str:
        """Let everything go that is due and not needed; return a line on what was done."""
        outcome = await self.retain()
        rows = sum(departed.rows for departed in outcome.departed)
        stays = f", {len(outcome.blocked)} stay though they are due" if outcome.blocked else ""
        return f"{rows} rows left in {len(outcome.departed)} parts{stays}" if outcome.departed or outcome.blocked else "nothing was due"

    @property
    def jobs(self) -> "Jobs":
        """What comes round: `platform.jobs.status()` says when, and how it went last."""
        from chainstrata.node.jobs import platform_jobs

        return platform_jobs(self)

    @property
    def backfills(self) -> "Backfills":
        """Backfills: `platform.backfills.start("blocks", 840_000, 850_000)`."""
        from chainstrata.backfill import Backfills

        return Backfills(self.database, self.catalog)

    def backfill_workers(self, at_once: int | None = None) -> "BackfillWorkers":
        """Return what works on backfills in this process."""
        from chainstrata.backfill import BackfillWorkers, WorkerOptions
        from chainstrata.ingest import Ingest

        options = WorkerOptions(at_once or self.config[BACKFILL_WORKERS], self.config[BACKFILL_LEASE])
        # Not by the gate: a chunk is done when its rows are in the database, not in the spool of whoever fetched them.
        return BackfillWorkers(self.backfills, Ingest(self.database, self.catalog, self.rollups).ingest, options=options)

    async def refresh_rollups(self) -> str:
        """Bring roll-ups up to date; return a line on what was done."""
        done = await self.rollups.refresh(wait=False)
        return f"{done.marks} marks worked off" if done.marks else "all up to date"

    async def refresh_views(self) -> str:
        """Refresh materialized views while they are read; return a line on what was done."""
        from chainstrata.node.jobs import refresh_views

        return await refresh_views(self)

    async def refresh_digests(self) -> str:
        """Compute anew what interrupted batches of columnar datasets touched; return a line on what was done."""
        from chainstrata.node.jobs import refresh_digests

        return await refresh_digests(self)

    async def reconcile_mirrors(self) -> str:
        """Compare the mirrors that are followed with their sources; return a line on what was found."""
        from chainstrata.node.jobs import reconcile_mirrors

        return await reconcile_mirrors(self)

    async def analyze(self) -> str:
        """Make the planner's statistics where they are stale; return a line on what was done."""
        from chainstrata.node.jobs import analyze

        return await analyze(self)

    async def reindex(self) -> str:
        """Build bloated indexes anew while they are used; return a line on what was done."""
        from chainstrata.node.jobs import reindex

        return await reindex(self)

    async def health(self) -> monitor.Health:
        """Say cheaply whether the platform can do its work."""
        return await monitor.health(self.database)

    async def metrics(self, node: monitor.NodeStatus | None = None) -> Figures:
        """Measure what is cheap to measure. `node` is the node's own account, where there is one."""
        return await measure(self, node)

    async def status(self, node: monitor.NodeStatus | None = None) -> monitor.Status:
        """Look at everything: engines, packs, datasets, findings. `node` is the node's own account, where there is one."""
        kind = "url" if self.target.kind == "url" else "embedded"
        engine, found = await self._columnar.look()
        columnar = await self._columnar.look_at(self.catalog.columnar)
        return await monitor.status(
            self.database,
            self.catalog,
            kind=kind,
            node=node,
            sizes=self._sizes,
            versions=self.versions,
            findings=[*self.findings, *self._find_spooled(), *found],
            others=(engine,),
            datasets=columnar,
        )

    @property
    def site(self) -> "Site":
        """What migrations work on."""
        from chainstrata.migrate import Site

        return Site(self.target.conninfo, self.catalog, self.config)

    async def migrate_up(self, watch: "Watch | None" = None) -> str:
        """Apply all revisions of all packs that are not applied; return a line on what was done."""
        from chainstrata import migrate
        from chainstrata.migrate.model import watch_nothing

        done = (await migrate.up(self.site, watch=watch or watch_nothing)).finished
        return f"{len(done)} revisions of {len({one.pack for one in done})} packs applied" if done else "all applied"

    async def catch_up_audit(self) -> str:
        """Write what could not be recorded while PostgreSQL was away; return a line on what was done."""
        written = await self.audit.catch_up()
        return f"{written} entries recorded late" if written else "nothing waited"

    async def _ensure_partitions(self, rollup: str, lo: datetime, hi: datetime) -> None:
        options = partitions.Options.from_config(self.config)
        await partitions.ensure_named(self.database, self.catalog, rollup, lo, hi, options=options)

    async def make_partitions(self) -> str:
        """Bring the partitions of all datasets to what they should be; return a line on what was done."""
        steps = await partitions.apply(self.database, self.catalog, options=partitions.Options.from_config(self.config))
        return f"{len(steps)} made" if steps else "all there"


@asynccontextmanager
async def connect(
    config: Config | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    pool: PoolOptions | None = None,
) -> AsyncIterator[Platform]:
    """Open the platform of these settings: `async with chainstrata.connect() as platform`.

    It works on the PostgreSQL of `postgres.url`, else on the one of the node that runs on this home, else on an embedded one
    that runs until the block ends. `settings` are keyed as in the file, and win over file and environment.
    """
    config = config or load_config(settings)
    catalog = load_catalog([*config[PACKS]])
    async with open_target(config, progress=progress) as target, Database(target.conninfo, config, options=pool) as database:
        platform = Platform(config, catalog, database, target)
        try:
            yield platform
        finally:
            await platform.close()
