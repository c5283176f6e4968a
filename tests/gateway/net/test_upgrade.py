from contextlib import suppress

import msgspec
import pytest
import structlog
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Opcode
from websockets.trio.client import connect

from gateway.net.frame import frame
from gateway.net.http import serve_http
from gateway.net.memory import memory_pair
from gateway.net.problem import Problem
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest
from tests.helpers.sockets import HANDSHAKE, connected, echo, handshake, hello, masked, over_tcp, url, welcome


async def test_the_handshake_of_the_rfc() -> None:
    answer = await handshake(welcome(echo), HANDSHAKE + b"\r\n")
    head = answer.split(b"\r\n")
    assert head[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
    assert not any(line.startswith((b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions")) for line in head)


async def test_admit_sees_the_request_and_chooses_the_subprotocol() -> None:
    seen: list[UpgradeRequest] = []

    def admit(request: UpgradeRequest) -> Admission:
        seen.append(request)
        return Admission("hatch.v1.json", echo)

    offer = b"Sec-WebSocket-Protocol: bearer.abc, hatch.v1.json\r\n\r\n"
    answer = await handshake(admit, HANDSHAKE + offer)
    assert b"\r\nSec-WebSocket-Protocol: hatch.v1.json\r\n" in answer
    [request] = seen
    assert (request.path, request.query) == ("/v1/ws", "a=b")
    assert request.headers["sec-websocket-protocol"] == "bearer.abc, hatch.v1.json"
    assert request.headers["HOST"] == "gateway"


async def test_a_refusal_is_a_problem_over_http() -> None:
    problem = Problem(status=401, code="unauthenticated", detail="No token.", headers=(("WWW-Authenticate", "Bearer"),))
    answer = await handshake(lambda request: problem, HANDSHAKE + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"www-authenticate: Bearer" in head
    assert msgspec.json.decode(body) == {
        "title": "Unauthorized",
        "status": 401,
        "code": "unauthenticated",
        "detail": "No token.",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Key: short"),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"X: y"),
        (b"Host: gateway", b"Host: gateway\r\nContent-Length: 4"),
        (b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
    ],
)
async def test_a_broken_handshake_is_refused(old: bytes, new: bytes) -> None:
    answer = await handshake(welcome(echo), HANDSHAKE.replace(old, new) + b"\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 426"))
    assert b'"code":"bad_message"' in answer


@pytest.mark.parametrize(
    ("old", "new"), [(b"keep-alive, Upgrade", b"keep-alive"), (b"HTTP/1.1", b"HTTP/1.0"), (b"GET", b"HEAD")]
)
async def test_without_the_upgrade_it_is_plain_http(old: bytes, new: bytes) -> None:
    answer = await handshake(welcome(echo), HANDSHAKE.replace(old, new) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_failing_admit_is_a_500() -> None:
    def admit(request: UpgradeRequest) -> Admission:
        raise KeyError("token")

    with structlog.testing.capture_logs() as logs:
        async with over_tcp(admit) as address, await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(HANDSHAKE + b"\r\n")
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 500")
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
    assert [entry["event"] for entry in logs] == ["connection_failed"]


async def test_frames_right_behind_the_request_are_not_lost() -> None:
    async with connected(echo, trailing=masked(Opcode.TEXT, b"one") + masked(Opcode.TEXT, b"two")) as client:
        assert [(await client.frame()).data for _ in range(2)] == [b"one", b"two"]


async def test_plain_requests_and_a_refused_upgrade_may_come_before() -> None:
    refusals = iter([Problem(status=403, code="forbidden", detail="Not yet.")])
    plain = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
    client, server = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, server, hello, welcome(echo))
        client.try_send(plain + plain + HANDSHAKE + b"\r\n" + masked(Opcode.TEXT, b"hi"))
        await wait_all_tasks_blocked()
        answer = await client.receive()
        client.release()
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(b"\r\n\r\n" + frame(Opcode.TEXT, b"hi"))
    refused = await handshake(lambda request: next(refusals), HANDSHAKE + b"\r\n" + HANDSHAKE + b"\r\n")
    assert refused.startswith(b"HTTP/1.1 403")
    assert refused.count(b"HTTP/1.1") == 1


async def test_garbage_and_a_second_upgrade_behind_the_request_hurt_only_their_sender() -> None:
    for trailing in (b"\r\n", b"\0", HANDSHAKE + b"\r\n"):
        async with over_tcp(welcome(echo)) as address:
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(HANDSHAKE + b"\r\n" + trailing)
                assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101")
            async with connect(url(address)) as client:
                await client.send("alive")
                assert await client.recv() == "alive"
