"""Fixtures of the contracts: every backend there is."""

from tests.fixtures.storage import s3_server, s3_url, storage

__all__ = ["s3_server", "s3_url", "storage"]
