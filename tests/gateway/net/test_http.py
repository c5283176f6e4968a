import h11
import pytest
import trio
import trio.testing
from starlette.types import Message, Receive, Scope, Send
from trio.testing import MockClock

from gateway.net.transport import PeerGone
from tests.helpers.plain_http import CLIENT, SERVER, Client, connected, echo, over_tcp, respond


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
