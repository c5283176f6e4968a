from collections.abc import Awaitable, Callable

import pytest
import structlog
import trio
import trio.testing
from starlette.types import Receive, Scope, Send

from tests.helpers.plain_http import Client, connected, fail, hello, raw, respond, status_of


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
