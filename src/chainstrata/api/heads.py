"""HEAD for whatever answers GET: the same status and headers, and no body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Asks a HEAD request as GET, and ends the answer after its headers: a stream of all rows, or one without end, is not made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def send_head(message: Message) -> None:
            nonlocal answered
            if message["type"] != "http.response.body":
                await send(message)
            elif not answered:
                answered = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if message.get("more_body"):
                    asking.cancel()

        asking = asyncio.ensure_future(self._app({**scope, "method": "GET"}, receive, send_head))
        try:
            await asking
        except asyncio.CancelledError:
            # Ended here, not from outside.
            if not answered or not asking.cancelled() or _is_cancelled():
                raise


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
