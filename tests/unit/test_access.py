"""Keys as text, roles, and the limit on how much a caller may ask."""

import re

import pytest

from chainstrata.access import Limiter, Role, TooManyRequests
from chainstrata.access.planner import hash_secret, make_secret, prefix_of


def test_a_key_is_found_by_its_open_part_and_kept_as_a_hash() -> None:
    made = [make_secret() for _ in range(100)]
    assert len({prefix for prefix, _ in made}) == 100
    for prefix, secret in made:
        assert prefix_of(secret) == prefix
        assert len(secret) > 50
        assert len(hash_secret(secret)) == 32
        assert secret.encode() not in hash_secret(secret)


@pytest.mark.parametrize(
    "text", ["", "cs_", "cs_0123456789ab", "x" * 60, "cs_0123456789AB_" + "x" * 43, "cs_0123456789ab_" + "é" * 43, "\0" * 60]
)
def test_what_has_not_the_shape_of_a_key_is_none(text: str) -> None:
    assert prefix_of(text) is None


def test_each_role_includes_those_before_it() -> None:
    assert [[role.includes(needed) for needed in Role] for role in Role] == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_caller_gets_the_rate_and_a_burst_and_is_told_how_long_to_wait() -> None:
    limiter = Limiter(10)
    for _ in range(20):
        limiter.take("one", now=100.0)
    with pytest.raises(TooManyRequests, match=re.escape("one asks more than 10 times a second")) as caught:
        limiter.take("one", now=100.0)
    assert caught.value.retry_after == pytest.approx(0.1)
    limiter.take("other", now=100.0)
    limiter.take("one", now=100.0 + 0.1001)
    with pytest.raises(TooManyRequests):
        limiter.take("one", now=100.0 + 0.1001)
    # However long somebody was quiet, the burst is all they have.
    for _ in range(20):
        limiter.take("one", now=10_000.0)
    with pytest.raises(TooManyRequests):
        limiter.take("one", now=10_000.0)


def test_no_rate_is_no_limit() -> None:
    limiter = Limiter(0)
    for _ in range(1000):
        limiter.take("one", now=1.0)
