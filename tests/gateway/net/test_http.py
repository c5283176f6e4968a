from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import h11
import msgspec
import pytest
import structlog
import trio
import trio.testing
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trio.testing import MockClock

from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.problem import Problem
from gateway.net.response import HttpLimits
from gateway.net.transport import PeerGone, Transport
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest
from tests.helpers.listening import listen

LIMITS = HttpLimits(
    header_bytes=1000,
    header_timeout_s=10,
    idle_timeout_s=60,
    body_bytes=100_000,
    body_timeout_s=30,
    write_timeout_s=20,
    close_timeout_s=2,
)
CLIENT, SERVER = ("192.0.2.1", 50000), ("192.0.2.2", 80)


def refuse(request: UpgradeRequest) -> Admission | Problem:
    return Problem(status=404, code="not_found", detail="No socket here.")


@asynccontextmanager
async def connected(app: ASGIApp, limits: HttpLimits = LIMITS) -> AsyncIterator[MemoryTransport]:
    """A client's end of a connection in memory that `app` serves."""
    client, server = memory_pair(client=CLIENT, server=SERVER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, server, app, refuse, limits)
        yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_tcp(app: ASGIApp, limits: HttpLimits = LIMITS) -> AsyncIterator[trio.SocketStream]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            handler = partial(serve_http, app=app, admit=refuse, limits=limits)
            address = await listen(nursery, handler)
            async with await trio.open_tcp_stream(*address) as stream:
                yield stream
            nursery.cancel_scope.cancel()


class Client:
    """Reads responses with h11, so that framing errors show."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.h11 = h11.Connection(h11.CLIENT)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.transport.receive())
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]

    async def ask(self, method: str = "GET", target: str = "/", **headers: str) -> tuple[h11.Response, bytes]:
        if self.h11.our_state is h11.DONE:
            self.h11.start_next_cycle()
        fields = [("Host", "gateway"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        head = self.h11.send(h11.Request(method=method, target=target, headers=fields))
        self.transport.try_send(head + self.h11.send(h11.EndOfMessage()))
        return await self.answer()

    async def answer(self) -> tuple[h11.Response, bytes]:
        body = b""
        response = await self.next_event()
        assert isinstance(response, h11.Response), response
        while not isinstance(event := await self.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            body += event.data
        return response, body


async def raw(app: ASGIApp, request: bytes, limits: HttpLimits = LIMITS) -> bytes:
    """Everything that comes back for these bytes until the server ends the connection."""
    async with connected(app, limits) as client:
        client.try_send(request)
        answer = b""
        with trio.fail_after(100):
            try:
                while data := await client.receive():
                    answer += data
            except PeerGone:
                answer += b"<reset>"
        client.release()
    return answer


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def respond(send: Send, body: bytes = b"", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read_body(receive))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"hello " + scope["path"].encode())


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("secret")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# What the application is told


async def test_the_scope_is_what_asgi_says() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await respond(send)

    async with connected(app) as transport:
        await Client(transport).ask("PATCH", "/caf%C3%A9/a%2Fb?q=%20x&y", X_Thing="Value", Accept="*/*")
    assert scopes == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "PATCH",
            "scheme": "http",
            "path": "/café/a/b",
            "raw_path": b"/caf%C3%A9/a%2Fb",
            "query_string": b"q=%20x&y",
            "root_path": "",
            "headers": [(b"host", b"gateway"), (b"x-thing", b"Value"), (b"accept", b"*/*")],
            "client": CLIENT,
            "server": SERVER,
        }
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 11\r\n\r\nhello world",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_a_body_arrives_however_it_is_framed_and_cut(body: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\n" + body
    for cut in range(1, len(request)):
        async with connected(echo) as transport:
            client = Client(transport)
            client.h11.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
            transport.try_send(request[:cut])
            await trio.testing.wait_all_tasks_blocked()
            transport.try_send(request[cut:])
            response, answer = await client.answer()
        assert (response.status_code, answer) == (200, b"hello world")


async def test_a_body_larger_than_the_pipe_streams_through() -> None:
    async with connected(echo) as transport:
        client = Client(transport)
        client.h11.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send_all, head + b"x" * 90_000, 5)
            _, answer = await client.answer()
    assert answer == b"x" * 90_000


async def test_the_application_learns_that_the_client_hung_up() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        seen.extend([await receive(), await receive()])
        with pytest.raises(ConnectionError):
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
        done.set()

    done = trio.Event()
    async with over_tcp(app) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while not bytes(await stream.receive_some()).endswith(b"event\r\n"):
            pass
        await stream.aclose()
        await done.wait()
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect", "http.disconnect"]


async def test_after_a_complete_response_receive_says_disconnect() -> None:
    seen: list[Message] = []

    async def watch(receive: Receive) -> None:
        seen.append(await receive())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, receive)  # waits when the response ends
            await trio.testing.wait_all_tasks_blocked()
            await respond(send)
        seen.append(await receive())

    async with connected(app) as transport:
        client = Client(transport)
        await client.ask()
        await client.ask()
        await trio.testing.wait_all_tasks_blocked()
    assert [message["type"] for message in seen] == ["http.disconnect"] * 4


async def test_looking_ahead_for_a_hang_up_is_bounded(autojump_clock: MockClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with trio.move_on_after(1000):
            await receive()
        await respond(send)

    async with connected(app) as transport:
        transport.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(PeerGone, match="no byte taken"):
            await transport.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000, 5)


# Responses


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


# Bad and slow clients


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


# Failing applications


async def test_a_failure_before_the_response_is_a_500_without_details() -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await raw(fail, b"GET /x?token=t HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(answer) == 500
    assert b'"code":"internal"' in answer
    assert b"secret" not in answer
    assert [entry["event"] for entry in logs] == ["application_failed"]
    assert "token" not in repr({name: value for name, value in logs[0].items() if name != "exc_info"})


async def test_a_failure_behind_a_head_that_has_not_left_is_a_500_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        raise ValueError

    assert status_of(await raw(app, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == 500


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"9")]])
async def test_a_failure_in_mid_response_drops_the_connection(headers: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await trio.testing.wait_all_tasks_blocked()
        raise ValueError

    answer = await raw(app, b"GET / HTTP/1.0\r\n\r\n")
    assert status_of(answer) == 200
    assert answer.endswith(b"half<reset>")  # a clean end would look like a whole answer


Misbehaviour = Callable[[Send], Awaitable[None]]


async def says_nothing(send: Send) -> None:
    pass


async def begins_with_the_body(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def begins_and_returns(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})


async def splits_its_response(send: Send) -> None:
    await respond(send, b"", 200, (b"x-bad", b"a\r\nset-cookie: b"))


async def talks_websocket(send: Send) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize(
    "misbehave", [says_nothing, begins_with_the_body, begins_and_returns, splits_its_response, talks_websocket]
)
async def test_a_misbehaving_application_is_a_500(misbehave: Misbehaviour) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await misbehave(send)

    assert status_of(await raw(app, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == 500


async def test_more_body_than_announced_drops_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"four"})

    assert await raw(app, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b"<reset>"


async def test_a_complete_answer_stands_even_if_the_application_fails_afterwards() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"fine")
        raise ValueError

    async with connected(app) as transport:
        client = Client(transport)
        assert (await client.ask())[1] == b"fine"
        assert (await client.ask())[1] == b"fine"


async def test_an_unknown_upgrade_is_an_ordinary_request() -> None:
    async with connected(hello) as transport:
        client = Client(transport)
        _, body = await client.ask(Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="")
        assert body == b"hello /"
