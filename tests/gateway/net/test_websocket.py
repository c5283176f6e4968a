import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import pytest
import structlog
import trio
import trio.lowlevel
import trio_websocket
from starlette.types import Receive, Scope, Send
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Event
from websockets.trio.client import connect
from websockets.uri import parse_uri

from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.problem import Problem
from gateway.net.transport import Address, PeerGone
from gateway.net.upgrade import Admission, Admit
from gateway.net.websocket import UpgradeRequest, WebSocket, WebSocketClosed, WebSocketLimits, frame
from tests.helpers.listening import listen

LIMITS = WebSocketLimits(message_bytes=100_000, close_timeout_s=5)
Serve = Callable[[WebSocket], Awaitable[None]]

HANDSHAKE = (
    b"GET /v1/ws?a=b HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def echo(websocket: WebSocket) -> None:
    while True:
        message = await websocket.receive()
        opcode, payload = (Opcode.TEXT, message.encode()) if isinstance(message, str) else (Opcode.BINARY, message)
        writable = trio.Event()
        websocket.on_writable = writable.set
        if not websocket.try_write(frame(opcode, payload)):
            await writable.wait()
            assert websocket.try_write(frame(opcode, payload))


def welcome(handler: Serve, subprotocol: str | None = None) -> Admit:
    return lambda request: Admission(subprotocol, handler)


def masked(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


GO = masked(Opcode.TEXT, b"go")


def closing(code: int) -> bytes:
    return masked(Opcode.CLOSE, struct.pack("!H", code))


class Client:
    """A raw client that has shaken hands and reads frames."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.protocol = ClientProtocol(parse_uri("ws://gateway/v1/ws"), max_size=None)
        self.events: list[Event] = []

    async def event(self) -> Event:
        while not self.events:
            data = await self.transport.receive()
            if not data:
                raise EOFError
            self.protocol.receive_data(data)
            self.events += self.protocol.events_received()
        return self.events.pop(0)

    async def frame(self) -> Frame:
        event = await self.event()
        assert isinstance(event, Frame)
        return event

    async def close_code(self) -> int:
        while (part := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        code: int = struct.unpack("!H", part.data[:2])[0]
        return code


@asynccontextmanager
async def connected(
    handler: Serve, *, capacity: int = 65536, trailing: bytes = b"", limits: WebSocketLimits = LIMITS
) -> AsyncIterator[Client]:
    """A client in memory, behind its handshake."""
    end, server = memory_pair(capacity, client=("192.0.2.1", 50000))
    client = Client(end)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_http, server, hello, welcome(handler), websocket_limits=limits))
        client.protocol.send_request(client.protocol.connect())
        request = b"".join(client.protocol.data_to_send())
        end.try_send(request + trailing)
        response = await client.event()
        assert isinstance(response, Response)
        assert response.status_code == 101
        yield client
        end.release()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_tcp(admit: Admit, limits: WebSocketLimits = LIMITS) -> AsyncIterator[Address]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            handler = partial(serve_http, app=hello, admit=admit, websocket_limits=limits)
            yield await listen(nursery, handler)
            nursery.cancel_scope.cancel()


def url(address: Address) -> str:
    return f"ws://{address[0]}:{address[1]}/v1/ws"


# The handshake


async def handshake(admit: Admit, request: bytes, limits: WebSocketLimits = LIMITS) -> bytes:
    """The first answer to these bytes."""
    client, server = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_http, server, hello, admit, websocket_limits=limits))
        client.try_send(request)
        answer = await client.receive()
        client.release()
    return answer


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


# Messages


async def test_text_and_binary_of_every_length() -> None:
    async with connected(echo) as client:
        for length in (0, 1, 125, 126, 127, 65535, 65536, 100_000):
            payload = b"x" * length
            for opcode in (Opcode.TEXT, Opcode.BINARY):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.transport.send_all, masked(opcode, payload), 5)
                    answer = await client.frame()
                assert (answer.opcode, bytes(answer.data)) == (opcode, payload)


async def test_a_frame_cut_anywhere_arrives() -> None:
    message = masked(Opcode.TEXT, "größer".encode())
    async with connected(echo) as client:
        for cut in range(1, len(message)):
            client.transport.try_send(message[:cut])
            await wait_all_tasks_blocked()
            client.transport.try_send(message[cut:])
            assert (await client.frame()).data == "größer".encode()


async def test_fragments_are_put_together_around_a_ping() -> None:
    async with connected(echo) as client:
        text = "größer".encode()
        client.transport.try_send(
            masked(Opcode.TEXT, text[:3], fin=False)  # in the middle of a character
            + masked(Opcode.PING, b"p")
            + masked(Opcode.CONT, b"", fin=False)
            + masked(Opcode.CONT, text[3:])
        )
        pong, message = await client.frame(), await client.frame()
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"p")
    assert (message.opcode, message.data, message.fin) == (Opcode.TEXT, text, True)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.TEXT, b"unmasked"), 1002),
        (masked(Opcode.CONT, b"nothing to continue"), 1002),
        (masked(Opcode.TEXT, b"a", fin=False) + masked(Opcode.TEXT, b"b"), 1002),
        (b"\xc1\x80\0\0\0\0", 1002),  # RSV1 without an extension
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (masked(Opcode.BINARY, b"x" * 200)[:1] + b"\xff" + (2**62).to_bytes(8, "big"), 1009),
        (masked(Opcode.TEXT, b"x" * 100_001), 1009),
        (masked(Opcode.TEXT, b"x" * 60_000, fin=False) + masked(Opcode.CONT, b"x" * 40_001), 1009),
        (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
        (masked(Opcode.TEXT, b"\xc3", fin=False) + masked(Opcode.CONT, b"("), 1007),
        (masked(Opcode.CLOSE, b"\x03"), 1002),
        (closing(1005), 1002),
        (masked(Opcode.CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    ],
    ids=[
        "unmasked",
        "nothing to continue",
        "fragment interrupted",
        "RSV1",
        "reserved opcode",
        "announced too long",
        "too long",
        "too long in parts",
        "not UTF-8",
        "not UTF-8 in parts",
        "short close",
        "reserved close code",
        "close reason not UTF-8",
    ],
)
async def test_a_broken_rule_closes_with_its_code(sent: bytes, code: int) -> None:
    ended: list[WebSocketClosed] = []

    async def read(websocket: WebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            ended.append(closed)
            raise

    async with connected(read) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.transport.send_all, sent + masked(Opcode.TEXT, b"late"), 1)
            assert await client.close_code() == code
        client.transport.send_eof()
        with pytest.raises(EOFError):
            await client.frame()
    assert len(ended) == 1


async def test_what_came_before_the_close_is_still_received() -> None:
    received: list[str | bytes] = []
    done = trio.Event()

    async def read(websocket: WebSocket) -> None:
        try:
            while True:
                received.append(await websocket.receive())
        except WebSocketClosed as closed:
            received.append(f"{closed.code} {closed.reason}")
            done.set()

    async with connected(read) as client:
        bye = masked(Opcode.CLOSE, struct.pack("!H", 4321) + b"bye")
        client.transport.try_send(masked(Opcode.TEXT, b"one") + masked(Opcode.TEXT, b"two") + bye)
        await done.wait()
        assert await client.close_code() == 4321
    assert received == ["one", "two", "4321 bye"]


# The end


@pytest.mark.parametrize("client_answers", [True, False])
async def test_close_is_a_handshake_bounded_in_time(client_answers: bool, autojump_clock: MockClock) -> None:
    async def shut(websocket: WebSocket) -> None:
        websocket.close(4502, "no hello")
        websocket.close(1000)  # the first one counts
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()
        assert (closed.value.code, closed.value.reason) == (4502, "no hello")
        assert not websocket.try_write(frame(Opcode.TEXT, b"too late"))
        websocket.ping()

    async with connected(shut) as client:
        began = trio.current_time()
        assert await client.close_code() == 4502
        if client_answers:
            client.transport.try_send(masked(Opcode.TEXT, b"late") + closing(4502))
        with pytest.raises(EOFError):
            await client.frame()
        client.transport.release()
        assert trio.current_time() == began + (0 if client_answers else 5)


async def test_a_close_from_another_task_wakes_the_reader() -> None:
    sockets: list[WebSocket] = []
    codes: list[int] = []

    async def read(websocket: WebSocket) -> None:
        sockets.append(websocket)
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            codes.append(closed.code)

    async with connected(read) as client:
        await wait_all_tasks_blocked()
        sockets[0].close(4000, "too slow")
        await wait_all_tasks_blocked()
        assert codes == [4000]
        assert await client.close_code() == 4000


async def test_messages_not_yet_received_are_dropped_by_a_close() -> None:
    received: list[str | bytes] = []

    async def read(websocket: WebSocket) -> None:
        received.append(await websocket.receive())
        websocket.close(4000)
        received.append(await websocket.receive())

    async with connected(read, trailing=masked(Opcode.TEXT, b"one") + masked(Opcode.TEXT, b"two")) as client:
        assert await client.close_code() == 4000
        client.transport.try_send(masked(Opcode.TEXT, b"three") + closing(4000))
        await wait_all_tasks_blocked()
    assert received == ["one"]


async def test_closes_from_both_sides_at_once() -> None:
    async def shut(websocket: WebSocket) -> None:
        await wait_all_tasks_blocked()
        websocket.close(1001)

    async with connected(shut) as client:
        client.transport.try_send(closing(1000))
        assert await client.close_code() in (1000, 1001)
        with pytest.raises(EOFError):
            await client.frame()


@pytest.mark.parametrize(
    ("how", "code"), [("return", 1000), ("fail", 1011), ("cancel", 1001)], ids=["return", "fail", "cancel"]
)
async def test_the_end_of_the_handler_is_told_to_the_client(how: str, code: int) -> None:
    begun = trio.Event()
    fate = trio.CancelScope()

    async def handle(websocket: WebSocket) -> None:
        begun.set()
        if how == "fail":
            raise ValueError
        if how == "cancel":
            await websocket.receive()

    with structlog.testing.capture_logs() as logs, trio.fail_after(5):
        client, server = memory_pair()
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with fate, suppress(ExceptionGroup):
                    await serve_http(server, hello, welcome(handle))

            nursery.start_soon(run)
            client.try_send(HANDSHAKE + b"\r\n")
            await begun.wait()
            if how == "cancel":
                fate.cancel()
            await wait_all_tasks_blocked()
            assert (await client.receive()).endswith(b"\r\n\r\n" + frame(Opcode.CLOSE, struct.pack("!H", code)))
            client.try_send(closing(code))
            client.release()
    assert logs == []


@pytest.mark.parametrize("where", ["handshake", "frame", "idle", "half-open"])
@pytest.mark.parametrize("end", ["release", "abort"])
async def test_a_client_that_vanishes_is_1006(where: str, end: str) -> None:
    codes: list[int] = []

    async def read(websocket: WebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            codes.append(closed.code)
            raise

    client, server = memory_pair()
    with structlog.testing.capture_logs() as logs, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_http, server, hello, welcome(read))
            request = HANDSHAKE + b"\r\n"
            client.try_send(request[:50] if where == "handshake" else request)
            await wait_all_tasks_blocked()
            if where == "frame":
                client.try_send(masked(Opcode.TEXT, b"hello")[:5])
            if where == "half-open":
                client.send_eof()
                await wait_all_tasks_blocked()
            getattr(client, end)()
    assert logs == []
    assert codes == ([] if where == "handshake" else [1006])


# Writing


async def flood(websocket: WebSocket) -> int:
    """When told to go, fill the transport until something is left over."""
    assert await websocket.receive() == "go"
    count = 0
    while not websocket.backlog:
        assert websocket.try_write(frame(Opcode.BINARY, b"%5d" % count * 100))
        count += 1
    return count


async def test_a_short_write_is_finished_in_order_and_then_told() -> None:
    told: list[float] = []
    total = 0

    async def push(websocket: WebSocket) -> None:
        nonlocal total
        writable = trio.Event()

        def tell() -> None:
            told.append(websocket.backlog)
            writable.set()

        websocket.on_writable = tell
        total = await flood(websocket)
        assert not websocket.try_write(frame(Opcode.TEXT, b"refused"))
        websocket.ping()
        assert not told
        await writable.wait()
        assert websocket.try_write(frame(Opcode.TEXT, b"taken"))
        with suppress(WebSocketClosed):
            await websocket.receive()

    async with connected(push, capacity=2000) as client:
        client.transport.try_send(GO)
        await wait_all_tasks_blocked()
        payloads = []
        while (part := await client.frame()).opcode is Opcode.BINARY:
            payloads.append(bytes(part.data))
        assert part.opcode is Opcode.PING
        assert (await client.frame()).data == b"taken"
    assert payloads == [b"%5d" % number * 100 for number in range(total)]
    assert told == [0]


async def test_a_stuck_client_is_still_heard_and_times_tell_of_it(autojump_clock: MockClock) -> None:
    heard: list[str | bytes] = []
    sockets: list[WebSocket] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        while True:
            message = await websocket.receive()
            heard.append(message)

    async with connected(stall, capacity=2000) as client:
        began = trio.current_time()
        [websocket] = sockets
        assert websocket.last_accepted == began
        await trio.sleep(100)
        client.transport.try_send(GO)
        for _ in range(3):
            await trio.sleep(20)
            client.transport.try_send(masked(Opcode.TEXT, b"cancel"))
        await wait_all_tasks_blocked()
        assert heard == ["cancel"] * 3
        assert websocket.last_heard == began + 160
        assert websocket.last_accepted == began + 100  # when the backlog began
        assert websocket.backlog > 0
        await client.transport.receive()
        await wait_all_tasks_blocked()
        assert websocket.last_accepted == began + 160


async def test_a_write_into_a_full_transport_begins_a_backlog_of_its_own(autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []

    async def fill(websocket: WebSocket) -> None:
        sockets.append(websocket)
        assert await websocket.receive() == "go"
        assert websocket.try_write(frame(Opcode.BINARY, bytes(1996)))  # with its head exactly what fits
        assert websocket.backlog == 0
        await trio.sleep(50)
        assert websocket.try_write(frame(Opcode.BINARY, b"x"))
        await websocket.receive()

    async with connected(fill, capacity=2000) as client:
        client.transport.try_send(GO)
        await trio.sleep(60)
        assert sockets[0].backlog == 3
        assert trio.current_time() - sockets[0].last_accepted == 10


async def test_a_cancelled_writer_still_finishes_its_frame_and_says_goodbye() -> None:
    fate = trio.CancelScope()

    async def stall(websocket: WebSocket) -> None:
        await flood(websocket)
        await websocket.receive()

    client, server = memory_pair(capacity=2000)

    async def run() -> None:
        with fate:
            await serve_http(server, hello, welcome(stall))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        client.try_send(HANDSHAKE + b"\r\n" + GO)
        await wait_all_tasks_blocked()
        fate.cancel()
        received = b""
        while not received.endswith(frame(Opcode.CLOSE, struct.pack("!H", 1001))):
            received += await client.receive()
        client.release()
    frames = received.partition(b"\r\n\r\n")[2][:-4]
    assert frames == b"".join(frame(Opcode.BINARY, b"%5d" % n * 100) for n in range(len(frames) // 504))


@pytest.mark.parametrize("how", ["abort", "close", "cancel"])
async def test_a_stuck_client_cannot_hold_anybody_up(how: str, autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []
    ended: list[float] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        with suppress(WebSocketClosed):
            await websocket.receive()

    client, server = memory_pair(capacity=2000)
    fate = trio.CancelScope()

    async def run() -> None:
        with fate:
            await serve_http(server, hello, welcome(stall), websocket_limits=LIMITS)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(run)
        client.try_send(HANDSHAKE + b"\r\n" + GO)
        await wait_all_tasks_blocked()
        match how:
            case "abort":
                sockets[0].abort()
                assert sockets[0].backlog == 0
            case "close":
                sockets[0].close(4000)
            case "cancel":
                fate.cancel()
    assert ended == [began + (0 if how == "abort" else 5)]
    with pytest.raises(PeerGone):
        await client.receive()


async def test_a_flood_of_pings_behind_a_stuck_writer_costs_one_pong() -> None:
    sockets: list[WebSocket] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        await websocket.receive()

    async with connected(stall, capacity=2000) as client:
        client.transport.try_send(GO)
        await wait_all_tasks_blocked()
        before = sockets[0].backlog
        for number in range(1000):
            await client.transport.send_all(masked(Opcode.PING, b"%d" % number), 1)
        await wait_all_tasks_blocked()
        assert sockets[0].backlog - before < 20
        while (part := await client.frame()).opcode is not Opcode.PONG:
            pass
        assert part.data == b"999"


async def test_every_ping_is_answered_while_the_writer_is_free() -> None:
    async with connected(echo) as client:
        client.transport.try_send(b"".join(masked(Opcode.PING, b"%d" % number) for number in range(100)))
        assert [(await client.frame()).data for _ in range(100)] == [b"%d" % number for number in range(100)]


async def test_a_pong_counts_as_heard(autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []

    async def wait(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await websocket.receive()

    async with connected(wait) as client:
        await trio.sleep(20)
        sockets[0].ping()
        assert (await client.frame()).opcode is Opcode.PING
        client.transport.try_send(masked(Opcode.PONG))
        await wait_all_tasks_blocked()
        assert sockets[0].last_heard == sockets[0].last_accepted == trio.current_time()


# Compression


DEFLATE = WebSocketLimits(message_bytes=100_000, deflate=True)


async def test_deflate_is_off_unless_configured() -> None:
    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    assert b"permessage-deflate" not in await handshake(welcome(echo), offer)
    assert b"permessage-deflate" in await handshake(welcome(echo), offer, DEFLATE)


async def test_a_client_with_deflate_reads_one_shared_compressed_frame_many_times() -> None:
    shared = frame(Opcode.TEXT, b"hatch" * 1000, deflate=True)
    assert len(shared) < 100

    async def push(websocket: WebSocket) -> None:
        assert websocket.deflate
        for data in (shared, frame(Opcode.TEXT, b"plain"), shared):
            assert websocket.try_write(data)
        await echo(websocket)

    async with over_tcp(welcome(push), DEFLATE) as address, connect(url(address), compression="deflate") as client:
        assert [await client.recv() for _ in range(3)] == ["hatch" * 1000, "plain", "hatch" * 1000]
        await client.send("squeezed" * 1000)
        assert await client.recv() == "squeezed" * 1000


async def test_a_smaller_window_than_the_shared_frames_means_no_compression() -> None:
    deflates: list[bool] = []

    async def note(websocket: WebSocket) -> None:
        deflates.append(websocket.deflate)

    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
    await handshake(welcome(note), offer, DEFLATE)
    await handshake(welcome(note), HANDSHAKE + b"\r\n", DEFLATE)
    assert deflates == [False, False]


async def test_a_compressed_bomb_is_too_big() -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = compressor.compress(bytes(50_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 100_000
    async with over_tcp(welcome(echo), DEFLATE) as address, await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        await stream.receive_some()
        packed = bytearray(masked(Opcode.BINARY, bomb[:-4]))
        packed[0] |= 0x40  # RSV1: compressed
        await stream.send_all(packed)
        assert bytes(await stream.receive_some())[2:4] == struct.pack("!H", 1009)


# Real clients


async def test_the_websockets_client() -> None:
    async with over_tcp(welcome(echo, "hatch.v1.json")) as address:
        async with connect(url(address), subprotocols=["hatch.v1.json"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "hatch.v1.json"
            await client.send("text")
            await client.send(b"binary")
            await client.send(iter(["in ", "parts"]))
            assert [await client.recv() for _ in range(3)] == ["text", b"binary", "in parts"]
            pong: Any = await client.ping()
            await pong.wait() if hasattr(pong, "wait") else await trio.lowlevel.checkpoint()
        assert client.protocol.close_code == 1000


async def test_the_websockets_client_learns_of_our_close() -> None:
    async def shut(websocket: WebSocket) -> None:
        websocket.close(4504, "forbidden")

    async with over_tcp(welcome(shut)) as address, connect(url(address)) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4504, "forbidden")


async def test_the_trio_websocket_client() -> None:
    async with over_tcp(welcome(echo, "hatch.v1.json")) as (host, port):
        async with trio_websocket.open_websocket(
            host, port, "/v1/ws", use_ssl=False, subprotocols=["hatch.v1.json"]
        ) as client:
            assert client.subprotocol == "hatch.v1.json"
            for message in ("text", b"binary" * 10_000):
                await client.send_message(message)
                assert await client.get_message() == message
            await client.ping(b"x")
        assert client.closed is not None
        assert client.closed.code == 1000


# Many, over real sockets


async def test_resets_anywhere_leave_the_others_alone() -> None:
    message = HANDSHAKE + b"\r\n" + masked(Opcode.TEXT, b"hello") + closing(1000)
    with structlog.testing.capture_logs() as logs:
        async with over_tcp(welcome(echo)) as address, connect(url(address)) as survivor:
            for cut in range(0, len(message), 3):
                sock = socket.create_connection(address)
                sock.sendall(message[:cut])
                await trio.lowlevel.checkpoint()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            await survivor.send("alive")
            assert await survivor.recv() == "alive"
    assert logs == []


async def test_a_stuck_reader_does_not_slow_the_others_and_ends_with_the_server() -> None:
    stuck: list[WebSocket] = []

    async def serve_one(websocket: WebSocket) -> None:
        if await websocket.receive() == "stall":
            stuck.append(websocket)
            assert websocket.try_write(frame(Opcode.BINARY, bytes(50_000_000)))  # no kernel buffers that much
            assert await websocket.receive() == "still heard"
            stuck.append(websocket)
        await echo(websocket)

    limits = WebSocketLimits(close_timeout_s=0.2)
    async with over_tcp(welcome(serve_one), limits) as address:
        stuck_client = await trio.open_tcp_stream(*address)
        await stuck_client.send_all(HANDSHAKE + b"\r\n" + masked(Opcode.TEXT, b"stall"))
        async with connect(url(address)) as lively:
            await lively.send("go")
            while not stuck:
                await lively.send("x")
                await lively.recv()
            await stuck_client.send_all(masked(Opcode.TEXT, b"still heard"))
            while len(stuck) < 2:
                await lively.send("x")
                assert await lively.recv() == "x"
            assert stuck[0].backlog > 0
        began = trio.current_time()
    assert trio.current_time() - began < 2
    await stuck_client.aclose()


async def test_500_sockets_and_every_answer_arrives() -> None:
    async def talk(address: Address, number: int) -> None:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(HANDSHAKE + b"\r\n")
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101")
            all_in.discard(number)
            if not all_in:
                everybody.set()
            await everybody.wait()
            await stream.send_all(masked(Opcode.TEXT, b"%d" % number))
            assert await stream.receive_some() == frame(Opcode.TEXT, b"%d" % number)

    everybody, all_in = trio.Event(), set(range(500))
    async with over_tcp(welcome(echo)) as address, trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(talk, address, number)


async def test_a_refused_client_of_the_websockets_library_sees_the_status() -> None:
    problem = Problem(status=403, code="forbidden", detail="Not from there.")
    async with over_tcp(lambda request: problem) as address:
        with pytest.raises(Exception, match="403") as refused:
            async with connect(url(address)):
                pass
        response = getattr(refused.value, "response", None)
        assert isinstance(response, Response)
        assert b'"code":"forbidden"' in response.body
