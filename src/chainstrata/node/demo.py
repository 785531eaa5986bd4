"""The streams of a demonstration: what the sources of every pack would send, made up, for as long as the node runs."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chainstrata.config import MODE, NODE_DEMO, NODE_DEMO_RATE
from chainstrata.errors import ConfigError

if TYPE_CHECKING:
    from chainstrata.node.platform import Platform

LATE, DUPLICATES, MALFORMED = 0.01, 0.005, 0.001
"""Shares as sources have them, so that there is something to see of each."""


class DemoService:
    """The service that sends the stream of one pack."""

    def __init__(self, platform: "Platform", pack: str, rate: float) -> None:
        self.name = f"demo {pack}"
        self._platform = platform
        self._pack = pack
        self._rate = rate

    async def run(self, stop: asyncio.Event) -> None:
        from chainstrata.simulate import Options

        options = Options(self._rate, late=LATE, duplicates=DUPLICATES, malformed=MALFORMED)
        await self._platform.simulation.run(self._pack, options, stop=stop)


def demo_services(platform: "Platform") -> Iterator[DemoService]:
    """Yield the streams of all packs that have one, if the node is to demonstrate. Raises `ConfigError` in production."""
    config = platform.config
    if not config[NODE_DEMO]:
        return
    if config[MODE] == "production":
        raise ConfigError(["node.demo: rows that are made up have no place in production mode"])
    from chainstrata.simulate import packs_with_streams

    packs = packs_with_streams(platform.catalog)
    for pack in packs:
        yield DemoService(platform, pack, config[NODE_DEMO_RATE] / len(packs))
