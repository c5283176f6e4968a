import msgspec
import pytest
import structlog
import trio
import trio.testing
from starlette.types import Receive, Scope, Send
from trio.testing import MockClock

from gateway.net.http import serve_http
from gateway.net.memory import memory_pair
from gateway.net.transport import PeerGone, Transport
from tests.helpers.plain_http import LIMITS, Client, connected, echo, hello, over_tcp, raw, refuse, respond, status_of


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),  # TLS
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n", 413),
    ],
)
async def test_what_cannot_be_served_is_refused_with_a_problem(
    request_: bytes, status: int, autojump_clock: MockClock
) -> None:
    answer = await raw(echo, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(head) == status
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert msgspec.json.decode(body)["status"] == status


async def test_a_chunked_body_over_the_bound_is_refused_while_it_comes(autojump_clock: MockClock) -> None:
    sent = 0

    async def upload(transport: Transport) -> None:
        nonlocal sent
        await transport.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 1)
        while True:
            await transport.send_all(b"2000\r\n" + b"x" * 8192 + b"\r\n", 100)
            sent += 8192
            await trio.sleep(0.5)

    async with connected(echo) as transport:
        with pytest.raises(PeerGone):  # the server stops listening to it, soon after its answer
            await upload(transport)
    assert 100_000 < sent < 200_000


async def test_the_application_hears_of_a_refused_body_as_a_disconnect_and_cannot_answer_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "http.request":
            pass
        await respond(send, b"too late")
        raise ValueError("the client is gone")  # as Starlette does

    chunks = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with over_tcp(app) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks * 2)
        answer = b"".join([bytes(chunk) async for chunk in stream])
    assert status_of(answer) == 413
    assert b"too late" not in answer


@pytest.mark.parametrize(
    ("parts", "expected", "after_s"),
    [
        ([], b"", 10),
        ([b"GET / HT"], b"408", 10),
        ([b"GET / HTTP/1.1\r\n", *([b"X: y\r\n"] * 40)], b"408", 10),
        ([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n"], b"408", 30),
        ([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n", *([b"x"] * 98)], b"408", 30),
    ],
    ids=["nothing", "half a line", "header drip", "no body", "body drip"],
)
async def test_a_slow_client_is_sent_away(
    parts: list[bytes], expected: bytes, after_s: float, autojump_clock: MockClock
) -> None:
    async def drip(transport: Transport) -> None:
        for part in parts:
            transport.try_send(part)
            await trio.sleep(0.9)

    began = trio.current_time()
    async with connected(echo) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(drip, transport)
        answer = await transport.receive()
        assert answer[9:12] == expected
        assert trio.current_time() - began == pytest.approx(after_s, abs=1)
        nursery.cancel_scope.cancel()


async def test_an_idle_connection_is_closed_silently(autojump_clock: MockClock) -> None:
    async with connected(hello) as transport:
        await Client(transport).ask()
        began = trio.current_time()
        assert await transport.receive() == b""
        assert trio.current_time() - began == pytest.approx(60)


async def test_the_time_for_a_later_head_counts_from_its_first_byte(autojump_clock: MockClock) -> None:
    async with connected(hello) as transport:
        await Client(transport).ask()
        await trio.sleep(30)
        began = trio.current_time()
        transport.try_send(b"GET / HT")
        assert (await transport.receive())[9:12] == b"408"
        assert trio.current_time() - began == pytest.approx(10)


async def test_a_client_that_does_not_read_is_dropped(autojump_clock: MockClock) -> None:
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        finally:
            ended.set()

    with structlog.testing.capture_logs() as logs:
        async with connected(app) as transport:
            transport.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            began = trio.current_time()
            await ended.wait()
            assert trio.current_time() - began == pytest.approx(20)
            with pytest.raises(PeerGone):
                await transport.receive()
    assert logs == []


@pytest.mark.parametrize("request_", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"])
@pytest.mark.parametrize("end", ["release", "abort"])
async def test_a_client_that_leaves_early_leaves_no_trace(request_: bytes, end: str) -> None:
    client, server = memory_pair()
    with structlog.testing.capture_logs() as logs, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_http, server, echo, refuse, LIMITS)
            client.try_send(request_)
            await trio.testing.wait_all_tasks_blocked()
            getattr(client, end)()
    assert logs == []
