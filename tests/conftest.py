"""What every test may use. Engines have fixtures of their own, in the conftest of the directories that need them."""

import os
from collections.abc import Callable
from typing import NoReturn

import pytest
from hypothesis import settings

# How long one example takes says how busy the machine is, not whether it is right. All else as it was, in CI and elsewhere.
settings.register_profile("unhurried", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a `conforms` mark without IDs: it would prove nothing and still look as if it did."""
    for item in items:
        for mark in item.iter_markers("conforms"):
            if not mark.args or mark.kwargs or not all(isinstance(argument, str) for argument in mark.args):
                raise pytest.UsageError(f"{item.nodeid}: conforms takes requirement IDs, as in conforms('S2-84')")


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Give the one way to say that an engine is not there: a skip on a laptop, a failure in CI."""

    def report(reason: str) -> NoReturn:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI every engine has to be there", pytrace=False)
        pytest.skip(reason)

    return report
