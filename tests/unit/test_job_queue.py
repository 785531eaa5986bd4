"""The job queue's own schema: made of released steps, pinned, and as new as the library that works on it."""

import pytest

from chainstrata.errors import DeclarationError
from chainstrata.migrate import queue
from chainstrata.packs.strata import pack


def test_the_queue_is_at_the_newest_step_of_the_library_that_is_installed() -> None:
    assert pack.queue == queue.newest(), "make a revision that takes the new steps into use: chainstrata migrate make strata"


def test_steps_that_are_not_those_of_the_revision_are_refused() -> None:
    with pytest.raises(DeclarationError, match="are not those of this release"):
        queue.create(pack.queue, sha256="0" * 64)
    with pytest.raises(DeclarationError, match=r"has no step 99\.00"):
        queue.digest("99.00")


def test_a_later_version_is_made_of_the_steps_since() -> None:
    whole = queue.create(pack.queue, sha256=queue.digest(pack.queue))
    since = queue.create(pack.queue, since="03.02.00_50_post_batch_defer_jobs")
    assert whole[0].startswith("CREATE SCHEMA")
    assert not any(step.startswith("CREATE SCHEMA") for step in since)
    assert 3 <= len([step for step in since if "procrastinate_" in step]) < len(whole) / 4
    # A value of an enum stands where the enum is made, if that is made at all.
    [adding] = [step for step in since if step not in whole]
    assert "ADD VALUE 'retried'" in adding
    assert not any("ADD VALUE" in step for step in whole)
    assert any("'retried'" in step for step in whole if "CREATE TYPE procrastinate_job_event_type" in step)
    assert queue.read_version(queue.comment(pack.queue)) == pack.queue
