"""What can go wrong with a job, other than what the job itself runs into."""

from datetime import datetime

from chainstrata.errors import ChainStrataError, UsageError


class JobError(ChainStrataError):
    """A job cannot be run."""

    code = "job_failed"


class JobBusy(JobError):
    """The job runs already."""

    code = "job_busy"
    retryable = True
    http_status = 409

    def __init__(self, name: str, worker: str = "", since: datetime | None = None) -> None:
        where = f" on {worker} since {since:%H:%M:%S} UTC" if since is not None else ""
        super().__init__(f"job {name!r} runs already{where}", hint="Let it finish; `chainstrata jobs list` shows how it went.")


class NothingToRetry(UsageError):
    """The last run of the job went well."""

    code = "nothing_to_retry"
    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"the last run of job {name!r} did not fail", hint=f"`chainstrata jobs run {name}` runs it all the same.")
