"""Clients of an HTTP server, in a process of their own that does little else: `python bench/http_clients.py < plan.json`.

Each client holds one connection. `each_second` says how often it asks, at times that scatter around that pace; a question waits for the
answer to the one before, and its time counts from when it was due, so that no queue hides. Without it a client asks again as soon as it is
answered. The plan says the address, how many clients, for how long, and what is asked: addresses by the name they are counted under,
taken in turn, each client beginning at another. What comes out is how long answers took, in milliseconds. It imports nothing but the
standard library, so that it starts at once and costs little.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from time import perf_counter
from typing import Any

_LENGTH = b"content-length:"
_PATIENCE = 20.0


class Client(asyncio.Protocol):
    """One connection. What was due before `start` warms up and is not counted."""

    def __init__(self, requests: Iterator[tuple[str, bytes]], start: float, end: float, pause: float, number: int) -> None:
        self.requests = requests
        self.start = start
        self.end = end
        self.pause = pause
        self.dice = random.Random(number)
        self.due = perf_counter() + self.dice.uniform(0, pause)
        self.took: dict[str, list[float]] = {}
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.wanted = 0
        self.name = ""
        self.asked = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._ask_when_due()

    def _ask_when_due(self) -> None:
        wait = self.due - perf_counter() if self.pause else 0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        self.name, request = next(self.requests)
        self.asked = self.due if self.pause else perf_counter()
        self.due += self.pause * self.dice.uniform(0.5, 1.5)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        if not self.wanted:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            if not head.startswith(b"http/1.1 200") or _LENGTH not in head:
                self._finish(f"{self.name}: {self.buffer[:600].decode(errors='replace')}")
                return
            place = head.index(_LENGTH) + len(_LENGTH)
            self.wanted = end + 4 + int(head[place:].split(b"\r\n", 1)[0])
        if len(self.buffer) >= self.wanted:
            now = perf_counter()
            self.buffer, self.wanted = b"", 0
            if self.asked >= self.start:
                self.took.setdefault(self.name, []).append(now - self.asked)
            if now >= self.end:
                self._finish("")
            else:
                self._ask_when_due()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._finish(f"{self.name}: the server hung up")

    def _finish(self, problem: str) -> None:
        if not self.done.done():
            self.done.set_result(problem)
            self.transport.close()


async def ask(plan: dict[str, Any]) -> dict[str, Any]:
    """Let the clients ask, and return what it took."""
    host, port, seconds = plan["host"], int(plan["port"]), float(plan["seconds"])
    pause = 1 / float(plan["each_second"]) if plan["each_second"] else 0.0
    lists = [[(name, _request(path, f"{host}:{port}")) for path in paths] for name, paths in plan["requests"].items()]
    turns = [one for several in zip(*map(_endless(max(map(len, lists))), lists), strict=True) for one in several]
    start = perf_counter() + float(plan["warm"])
    end = start + seconds
    clients = []
    for number in range(int(plan["clients"])):
        # Each begins elsewhere, a step that shares no factor with the number of kinds apart.
        mine = islice(cycle(turns), number * 7 % len(turns), None)
        client = Client(mine, start, end, pause, number)
        clients.append(client)
        await asyncio.get_running_loop().create_connection(lambda client=client: client, host, port)  # type: ignore[misc]
    await asyncio.wait([client.done for client in clients], timeout=end - perf_counter() + _PATIENCE)
    silent = [f"{client.name}: no answer in {_PATIENCE:g} s" for client in clients if not client.done.done()]
    problems = [*silent, *(client.done.result() for client in clients if client.done.done() and client.done.result())]
    if problems:
        raise SystemExit(f"{len(problems)} of {len(clients)} clients: {problems[0]}")
    took: dict[str, list[float]] = {}
    for client in clients:
        for name, times in client.took.items():
            took.setdefault(name, []).extend(times)
    everything = [one for times in took.values() for one in times]
    return {"": _figures(everything, seconds), **{name: _figures(times, seconds) for name, times in took.items()}}


def _endless(length: int) -> Any:
    return lambda requests: islice(cycle(requests), length)


def _request(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def _figures(times: list[float], seconds: float) -> dict[str, float]:
    times.sort()

    def part(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))] * 1000

    return {"p50": part(0.5), "p95": part(0.95), "p99": part(0.99), "a_second": len(times) / seconds}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(json.load(sys.stdin)))))
