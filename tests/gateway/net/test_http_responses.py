import h11
import pytest
import trio
import trio.testing
from starlette.types import Receive, Scope, Send

from tests.helpers.plain_http import Client, connected, echo, hello, raw, status_of


async def test_keep_alive_serves_one_request_after_another() -> None:
    async with connected(hello) as transport:
        client = Client(transport)
        for number in range(5):
            response, body = await client.ask(target=f"/{number}")
            assert (response.status_code, body) == (200, b"hello /%d" % number)
            assert b"date" in dict(response.headers)


async def test_pipelined_requests_are_answered_in_order() -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50))
    answer = await raw(hello, requests + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [part.split(b"\r\n")[0] for part in answer.split(b"hello ")[1:]][-1] == b"/last"
    positions = [answer.index(b"hello /%dHTTP" % number) for number in range(50)]
    assert positions == sorted(positions)


async def test_connection_close_and_http_1_0_end_after_the_answer() -> None:
    for request in (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        answer = await raw(hello, request + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.lower().count(b"connection: close") == 1
        assert answer.endswith(b"hello /")


async def test_head_has_the_headers_and_no_body() -> None:
    async with connected(hello) as transport:
        client = Client(transport)
        response, body = await client.ask("HEAD", "/x")
        assert dict(response.headers)[b"content-length"] == b"8"
        assert body == b""
        assert (await client.ask(target="/next"))[1] == b"hello /next"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_sends_none(status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"not allowed here"})

    async with connected(app) as transport:
        client = Client(transport)
        for _ in range(2):
            response, body = await client.ask()
            assert (response.status_code, body) == (status, b"")


async def test_a_stream_is_chunked_and_its_head_comes_before_its_body() -> None:
    go_on = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        for chunk in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async with connected(app) as transport:
        client = Client(transport)
        client.h11.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        transport.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.next_event()
        assert isinstance(response, h11.Response)
        assert dict(response.headers)[b"transfer-encoding"] == b"chunked"
        go_on.set()
        chunks = [await client.next_event() for _ in range(3)]
    assert [getattr(chunk, "data", None) for chunk in chunks] == [b"one", b"two", None]


async def test_an_unread_small_body_does_not_end_the_connection_and_a_missing_one_does() -> None:
    async with connected(hello) as transport:
        client = Client(transport)
        client.h11.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        transport.try_send(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.answer())[1] == b"hello /1"
    answer = await raw(hello, b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody")
    assert b"connection: close\r\n" in answer.lower()
    assert answer.endswith(b"hello /2")


async def test_100_continue_is_said_when_the_body_is_wanted_only() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    async with connected(echo) as transport:
        transport.try_send(head)
        assert await transport.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        transport.try_send(b"body")
        assert (await transport.receive()).endswith(b"\r\n\r\nbody")
    assert status_of(await raw(hello, head)) == 200
