"""The HTTP API: parses, calls one public function, answers what it returned. No SQL, no policy."""

from chainstrata.api.app import build_api, create_app

__all__ = ["build_api", "create_app"]
