"""What comes round, and when. Every job calls the function of the command that does the same."""

from datetime import time, timedelta
from typing import TYPE_CHECKING, Final

from chainstrata import upkeep
from chainstrata.config import UPKEEP_VIEWS_EVERY
from chainstrata.engines.clickhouse import why_missing
from chainstrata.jobs import Daily, Every, Job, Jobs
from chainstrata.jobs.schedule import forget

if TYPE_CHECKING:
    from chainstrata.node.platform import Platform


_STALE: Final = timedelta(minutes=1)
"""Age at which a batch is not under way any more."""


def platform_jobs(platform: "Platform") -> Jobs:
    """Return the jobs of a platform."""
    jobs: Jobs

    async def forget_ended() -> str:
        return await forget(jobs)

    hourly = Every(timedelta(hours=1))
    jobs = Jobs(
        platform.database,
        [
            Job("partitions", hourly, platform.make_partitions, "Makes partitions ahead."),
            Job("rollups", Every(timedelta(minutes=15)), platform.refresh_rollups, "Brings roll-ups up to date that no node keeps so."),
            Job(
                "retention",
                Daily(time(2)),
                platform.retain_all,
                "Archives what is old and lets it go, runs of jobs and names of batches too.",
            ),
            Job(
                "views",
                Every(platform.config[UPKEEP_VIEWS_EVERY]),
                platform.refresh_views,
                "Refreshes materialized views while they are read.",
            ),
            Job("statistics", hourly, platform.analyze, "Makes the planner's statistics where they are stale."),
            Job("indexes", Daily(time(4), weekday=6), platform.reindex, "Builds bloated indexes anew while they are used."),
            Job("digests", Every(timedelta(minutes=15)), platform.refresh_digests, "Computes anew what columnar batches left half done."),
            Job("reconcile", Daily(time(5)), platform.reconcile_mirrors, "Compares mirrors with their sources; fails if any differs."),
            Job("queue", Daily(time(2, 30)), forget_ended, "Forgets what ended in the job queue long ago."),
        ],
    )
    return jobs


async def refresh_views(platform: "Platform") -> str:
    """Refresh materialized views; return a line on what was done."""
    done = await upkeep.refresh(platform.database, platform.catalog)
    left = [view.qualified for view in done if view.verdict is upkeep.ViewVerdict.BLOCKING]
    said = f"{len(done) - len(left)} refreshed" if done else "there are none"
    return said + (f", not without a unique index: {', '.join(left)}" if left else "")


async def refresh_digests(platform: "Platform") -> str:
    """Compute anew what interrupted batches of columnar datasets touched; return a line on what was done."""
    missing = why_missing(platform.config)
    if missing:
        return missing
    done = await platform.columnar_ingest.refresh(older_than=_STALE)
    return f"{done} batches finished" if done else "none was left half done"


async def reconcile_mirrors(platform: "Platform") -> str:
    """Compare the mirrors that are followed with their sources; return a line on what was found, raise `MirrorsDiffer` if any does."""
    missing = why_missing(platform.config)
    if missing:
        return missing
    from chainstrata.node.cdc import MirrorsDiffer, list_followed

    followed = await list_followed(platform.database)
    if not followed:
        return "no mirror is followed"
    async with platform.mirrors() as mirrors:
        found = await mirrors.reconcile(followed)
    differing = [one.dataset for one in found if not one.agrees]
    if differing:
        raise MirrorsDiffer(differing)
    return f"{len(found)} mirrors agree with their sources"


async def analyze(platform: "Platform") -> str:
    """Make statistics where they are stale; return a line on what was done."""
    done = await upkeep.analyze(platform.database, platform.catalog)
    return f"{len(done)} tables analyzed" if done else "all are fresh"


async def reindex(platform: "Platform") -> str:
    """Build bloated indexes anew; return a line on what was done."""
    done = await upkeep.reindex(platform.database, platform.catalog, options=upkeep.Options.from_config(platform.config))
    gained = sum(index.size_bytes - (index.size_after or 0) for index in done)
    return f"{len(done)} indexes built anew, {gained} bytes less" if done else "none is bloated"
