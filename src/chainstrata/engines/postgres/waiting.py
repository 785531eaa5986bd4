"""Waiting for something that may not come."""

import asyncio


async def happened(event: asyncio.Event, within: float) -> bool:
    """Wait for the event, at most `within` seconds, and return whether it came."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
