"""The address of the API: picked when it may be, told clearly when it is taken."""

import asyncio
import socket

import pytest

from chainstrata.node.http import FIRST_PORT, LAST_PORT, AddressError, address_of, bind


def test_port_0_takes_the_first_free_one_and_the_next_node_the_next() -> None:
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", 0) as second:
        ports = [listener.getsockname()[1] for listener in (first, second)]
    assert FIRST_PORT <= ports[0] < ports[1] <= LAST_PORT


def test_a_port_that_is_taken_is_named_with_who_has_it() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError) as caught:
            bind("127.0.0.1", port)
    assert f"port {port} of 127.0.0.1 is in use by process " in caught.value.message
    assert "node.port" in caught.value.hint


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(AddressError) as caught:
        bind("192.0.2.1", 0)
    assert "192.0.2.1" in caught.value.message
    assert "node.host" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_the_address_is_one_that_a_browser_takes(host: str, shown: str) -> None:
    try:
        listener = bind(host, 0)
    except AddressError:
        if not socket.has_ipv6 or ":" in host:
            pytest.skip("this machine has no IPv6 loopback")
        raise
    with listener:
        assert address_of(listener).startswith(shown)


async def test_an_answer_goes_out_at_once() -> None:
    """Held back until its reader acknowledges what came before, a small answer would take 40 ms."""
    at_once: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    with bind("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(answer, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await asyncio.wait_for(at_once, 10)
            writer.close()
            await writer.wait_closed()
