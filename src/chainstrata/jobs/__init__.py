"""Jobs: work that comes round, and who does it.

A `Job` is a public function with the times at which it is due. `Jobs` lists, runs, asks for, pauses and resumes them;
`Schedule` puts what is due into the job queue, and a worker takes it from there. Whatever ends a worker, its job is taken up
again, and never runs twice at once.
"""

from chainstrata.jobs.errors import JobBusy, JobError, NothingToRetry
from chainstrata.jobs.model import AskedBy, Daily, Every, Job, JobState, JobStatus, Lease, Run, RunState, When
from chainstrata.jobs.planner import Trouble, find_trouble
from chainstrata.jobs.runner import Jobs
from chainstrata.jobs.schedule import Schedule

__all__ = [
    "AskedBy",
    "Daily",
    "Every",
    "Job",
    "JobBusy",
    "JobError",
    "JobState",
    "JobStatus",
    "Jobs",
    "Lease",
    "NothingToRetry",
    "Run",
    "RunState",
    "Schedule",
    "Trouble",
    "When",
    "find_trouble",
]
