"""Fixtures of the tests that use the product as its users do."""

from tests.fixtures.checkout import copy

__all__ = ["copy"]
