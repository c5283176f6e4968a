"""Starting and stopping: in this process, and the real `hatchery serve` with signals."""

import base64
import contextlib
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
import trio
import trio_websocket
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from actors.llm.server import LlmServer
from gateway.access.auth import new_token
from gateway.clients.connection import open_connection
from gateway.clients.policy import Disconnected
from gateway.config import ConfigError
from protocol.commands import HatchRequest, Hello, List, Start
from protocol.events import End, Error, GoingAway, ServerMessage, Snapshot, State
from tests.helpers.children import Child, hatchery, run_hatchery
from tests.helpers.gateways import Listener, listening_client, running_gateway
from tests.helpers.problems import check_problem

SLOW = {"HATCHERY_SIM_TOKENS_PER_S": "1", "HATCHERY_SIM_STEP_S": "30", "HATCHERY_SERVER_DRAIN_S": "0.2"}
SHORT = {"HATCHERY_SIM_TOKENS_PER_S": "200", "HATCHERY_SIM_STEP_S": "0.1", "HATCHERY_SERVER_DRAIN_S": "60"}  # 2 to 3 s
PATIENT = {"HATCHERY_SERVER_DRAIN_S": "60"}
TOY = f"{sys.executable} {Path(__file__).parents[1] / 'helpers' / 'toy_llm_server.py'}"
HATCHES = 38  # of a client that reads slowly
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


# --- where it listens


async def test_port_0_is_any_free_port(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "a") as one, running_gateway(tmp_path / "b") as two:
        assert one.url != two.url
        for gateway in (one, two):
            async with httpx2.AsyncClient(trust_env=False) as http:
                assert (await http.get(f"{gateway.url}/healthz")).status_code == 200
    async with httpx2.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"{one.url}/healthz")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hatch.example", "", "localhost.evil.example"])
async def test_a_public_address_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.host: .*loopback"):
        async with running_gateway(tmp_path, server__host=host):
            pass
    assert os.listdir(tmp_path) == []


async def test_with_a_token_a_public_address_is_listened_on_and_the_token_is_needed(tmp_path: Path) -> None:
    token, line = new_token("ada")
    settings: dict[str, Any] = {
        "server__host": "0.0.0.0",
        "server__public_urls": ["http://hatch.example"],
        "access__tokens": [line],
    }
    async with running_gateway(tmp_path, **settings) as gateway:
        url, host = gateway.url.replace("0.0.0.0", "127.0.0.1"), {"Host": "hatch.example"}
        async with httpx2.AsyncClient(base_url=url, headers=host, trust_env=False) as http:
            check_problem(await http.get("/v1/hatches"), 401, "unauthenticated")
            bearer = {"Authorization": f"Bearer {token}"}
            assert (await http.get("/v1/hatches", headers=bearer)).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
async def test_every_loopback_address_works_by_the_url_that_is_said(tmp_path: Path, host: str) -> None:
    if not _can_bind(host):
        pytest.skip(f"this machine has no {host}")
    async with running_gateway(tmp_path, server__host=host) as gateway, listening_client(gateway) as listener:
        assert urlsplit(gateway.url).hostname == host
        accepted = await listener.start(HatchRequest(prompt="an owl"))
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
            answer = await http.post("/v1/hatches", json={"prompt": "x"}, headers={"Origin": gateway.url})
            assert answer.status_code == 202
            assert (await http.get(f"/v1/hatches/{accepted.session}")).status_code == 200


def _can_bind(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.bind((host, 0))
    except OSError:
        return False
    return True


# --- who gets a WebSocket


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/ws", {"Host": "evil.example"}, 400, "bad_message"),
        ("/v1/ws", {"Origin": "https://evil.example"}, 403, "forbidden"),
        ("/v1/ws", {"Origin": "null"}, 403, "forbidden"),
        ("/v1/wss", {}, 404, "not_found"),
        ("/", {}, 404, "not_found"),
        ("/v1/ws", {"Sec-WebSocket-Protocol": "graphql-ws, hatch.v2.json"}, 400, "bad_message"),
        ("/v1/ws", {"Sec-WebSocket-Protocol": ""}, 400, "bad_message"),
        ("/v1/ws", {"Sec-WebSocket-Key": "short"}, 400, "bad_message"),
    ],
)
async def test_an_upgrade_that_is_refused(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with running_gateway(tmp_path) as gateway, httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        check_problem(await http.get(path, headers={**HANDSHAKE, **headers}), status, code)


@pytest.mark.parametrize("version", ["8", "14", "0", "13, 8", "x"])
async def test_another_version_of_the_protocol_is_told_which_one_is_spoken(tmp_path: Path, version: str) -> None:
    async with running_gateway(tmp_path) as gateway, httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        refused = await http.get("/v1/ws", headers={**HANDSHAKE, "Sec-WebSocket-Version": version})
        check_problem(refused, 426, "bad_message")
        assert refused.headers["sec-websocket-version"] == "13"
        assert refused.headers["upgrade"] == "websocket"
        unsaid = {name: value for name, value in HANDSHAKE.items() if name != "Sec-WebSocket-Version"}
        check_problem(await http.get("/v1/ws", headers=unsaid), 400, "bad_message")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["hatch.v1.json"], "hatch.v1.json"),
        (["hatch.v2.json", "hatch.v1.msgpack", "hatch.v1.json"], "hatch.v1.msgpack"),
        (["hatch.v1.json", "bearer.c2VjcmV0"], "hatch.v1.json"),
    ],
)
async def test_the_first_known_subprotocol_is_spoken(tmp_path: Path, offered: list[str], chosen: str | None) -> None:
    async with running_gateway(tmp_path) as gateway:
        address = gateway.url.replace("http", "ws") + "/v1/ws"
        async with trio_websocket.open_websocket_url(address, subprotocols=offered) as websocket:
            assert websocket.subprotocol == chosen
            hello = {"type": "hello", "id": 1}
            packed = chosen == "hatch.v1.msgpack"
            await websocket.send_message(
                msgspec.msgpack.encode(hello) if packed else msgspec.json.encode(hello).decode()
            )
            answer = await websocket.get_message()
            (welcome,) = msgspec.json.decode(answer) if isinstance(answer, str) else msgspec.msgpack.decode(answer)
            assert welcome["type"] == "welcome"


# --- how it stops


async def _hatch_until_closed(url: str, on_writing: Callable[[], None]) -> list[ServerMessage]:
    """Start a hatch, say when it is being written, and return all that is said until the gateway closes with 1001."""
    heard: list[ServerMessage] = []
    code = None
    async with open_connection(url) as client:
        await client.send(Hello(id=1), Start(id=2, hatch=HatchRequest(prompt="an owl")))
        try:
            async for message in client.messages():
                heard.append(message)
                if isinstance(message, State | Snapshot) and message.state == "writing":
                    on_writing()
        except Disconnected as closed:
            code = closed.code
    assert code == 1001
    return heard


async def test_leaving_the_block_ends_hatches_and_tells_their_watchers(tmp_path: Path) -> None:
    writing = trio.Event()
    heard: list[ServerMessage] = []

    async def watch(url: str) -> None:
        heard.extend(await _hatch_until_closed(url, writing.set))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, running_gateway(tmp_path, sim__tokens_per_s=1) as gateway:
            nursery.start_soon(watch, gateway.url)  # noqa: ASYNC111 - it is to outlive the gateway
            await writing.wait()
    _check_farewell(heard)


def _check_farewell(heard: list[ServerMessage]) -> None:
    """Going away, then how the hatch ended, once, and nothing after it."""
    kinds = [type(message) for message in heard]
    assert kinds.count(GoingAway) == kinds.count(End) == 1
    assert kinds.index(GoingAway) < kinds.index(End) == len(kinds) - 1
    end = heard[-1]
    assert isinstance(end, End)
    assert (end.outcome, end.receipt.llm) == ("cancelled", "closed")


@asynccontextmanager
async def _served(tmp_path: Path, llm: str = "sim", **environ: str) -> AsyncIterator[tuple[Child, str]]:
    arguments = ("serve", "--port", "0", "--llm", llm, "--image", "sim", "--data", tmp_path / "data")
    async with hatchery(*arguments, cwd=tmp_path, environ={**SLOW, **environ}) as child:
        line = await child.until("listens at")
        assert f"writer: {Path(shlex.split(llm)[0]).name}, painter: sim" in line
        yield child, line.split()[3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_everything_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    async with _served(tmp_path) as (child, url):
        with trio.fail_after(20):
            heard = await _hatch_until_closed(url, lambda: child.process.send_signal(number))
        _check_farewell(heard)
        assert await child.ended(within_s=3) == 0
        assert "Traceback" not in child.err


async def test_a_signal_right_after_the_first_word_is_heard(tmp_path: Path) -> None:
    async with _served(tmp_path) as (child, _):
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended(within_s=10) == 0


async def test_a_hatch_that_can_finish_in_time_does_and_the_gateway_leaves_at_once(tmp_path: Path) -> None:
    async with _served(tmp_path, **SHORT) as (child, url):
        with trio.fail_after(30):
            heard = await _hatch_until_closed(url, lambda: child.process.send_signal(signal.SIGTERM))
        going_away = next(message for message in heard if isinstance(message, GoingAway))
        assert going_away.deadline_ms == 70_000
        end = heard[-1]
        assert isinstance(end, End)
        assert end.outcome == "done"
        assert await child.ended(within_s=5) == 0


async def test_a_hatch_that_takes_too_long_is_cancelled_when_the_time_is_over(tmp_path: Path) -> None:
    async with _served(tmp_path, HATCHERY_SERVER_DRAIN_S="1.5", HATCHERY_SERVER_STOP_S="4") as (child, url):
        asked: list[float] = []

        def ask() -> None:
            asked.append(trio.current_time())
            child.process.send_signal(signal.SIGTERM)

        with trio.fail_after(20):
            heard = await _hatch_until_closed(url, ask)
        took_s = trio.current_time() - asked[0]
        _check_farewell(heard)
        going_away = next(message for message in heard if isinstance(message, GoingAway))
        assert going_away.deadline_ms == 5500
        assert 1.5 <= took_s < going_away.deadline_ms / 1000
        assert await child.ended(within_s=3) == 0
    (logged,) = (line for line in map(json.loads, child.err.splitlines()) if line["event"] == "hatch_ended")
    assert (logged["outcome"], logged["reason"]) == ("cancelled", "the gateway stops")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_hurries_and_more_of_them_change_nothing(tmp_path: Path, number: signal.Signals) -> None:
    async with _served(tmp_path, **PATIENT) as (child, url), _listening(url) as client:
        with trio.fail_after(10):
            accepted = await client.start(HatchRequest(prompt="an owl"))
            child.process.send_signal(number)
            await client.until(GoingAway)
            await trio.sleep(0.5)  # nothing is to happen
            for _ in range(3):
                child.process.send_signal(number)
            end = await client.end(accepted.session)
        assert (end.outcome, end.receipt.llm) == ("cancelled", "closed")
        assert end.receipt.total_ms > 500
        assert await child.ended(within_s=5) == 0
        assert "Traceback" not in child.err
    assert len(client.all(GoingAway)) == 1


async def test_while_it_drains_nothing_new_is_taken(tmp_path: Path) -> None:
    async with (
        _served(tmp_path, **PATIENT) as (child, url),
        httpx2.AsyncClient(base_url=url, trust_env=False) as kept_alive,
        _listening(url) as client,
    ):
        first = await client.start(HatchRequest(prompt="an owl"), key="k")
        assert (await kept_alive.get("/readyz")).status_code == 200
        child.process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            await client.until(GoingAway)
            await client.send(Start(id=3, hatch=HatchRequest(prompt="a fox")))
            refused = await client.until(Error)
            assert (refused.id, refused.code, refused.retryable) == (3, "draining", True)
            again = await client.start(HatchRequest(prompt="an owl"), id=4, key="k", watch=False)
            assert (again.session, again.existing) == (first.session, True)
            ready = await kept_alive.get("/readyz")
            assert (ready.status_code, ready.json()["status"], ready.json()["running"]) == (503, "draining", 1)
            check_problem(await kept_alive.post("/v1/hatches", json={"prompt": "x"}), 503, "draining")
            check_problem(await kept_alive.get("/v1/ws", headers=HANDSHAKE), 503, "draining")
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as newcomer:
            with pytest.raises(httpx2.ConnectError):
                await newcomer.get("/healthz")


@asynccontextmanager
async def _listening(url: str) -> AsyncIterator[Listener]:
    """A client that has said `hello` and listens until the gateway closes."""

    async def listen() -> None:
        with contextlib.suppress(Disconnected):
            await listener.listen()

    async with open_connection(url) as client, trio.open_nursery() as nursery:
        listener = Listener(client)
        nursery.start_soon(listen)
        await listener.send(Hello(id=0))
        yield listener
        nursery.cancel_scope.cancel()


async def test_many_clients_are_asked_to_come_back_over_a_longer_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serve.RECONNECTS_PER_S", 1)
    async with running_gateway(tmp_path) as gateway, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(listening_client(gateway)) for _ in range(4)]
        await gateway.drain(0)
        said = {(await client.until(GoingAway)).reconnect_after_ms for client in clients}
    assert said == {(500, 4500)}


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_stuck_reader_holds_the_stop_up_no_longer_than_the_bound(tmp_path: Path, signals: int) -> None:
    drain_s = "0.5" if signals == 1 else "60"
    async with (
        _served(tmp_path, HATCHERY_SERVER_DRAIN_S=drain_s, HATCHERY_SERVER_STOP_S="1") as (child, url),
        _stuck_reader(url),
    ):
        began = trio.current_time()
        for _ in range(signals):
            child.process.send_signal(signal.SIGTERM)
            await trio.sleep(0.3)  # two signals at once are one
        assert await child.ended(within_s=20) == 0
        assert trio.current_time() - began < 0.5 + 1 + 2  # drain_s, stop_s, and a slow machine
        assert "Traceback" not in child.err


async def test_an_llm_server_that_ignores_signals_holds_the_stop_up_no_longer_than_the_bound(tmp_path: Path) -> None:
    """Beside a stuck reader, who takes a second himself."""
    async with (
        _served(tmp_path, f"{TOY} --stubborn", HATCHERY_SERVER_DRAIN_S="0", HATCHERY_SERVER_STOP_S="2") as (child, url),
        _stuck_reader(url),
    ):
        await child.until("llm_server_ready", stream="err")
        began = trio.current_time()
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended(within_s=20) == 0
        assert trio.current_time() - began < 2 + 1, "and a slow machine"


async def test_an_llm_server_is_ended_while_the_rest_stops(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, llm__engine=f"{TOY} --stubborn", server__stop_s=0.5) as gateway:
        server = gateway.services.sessions.workshop.llm
        assert isinstance(server, LlmServer)
        with trio.fail_after(20):
            await server.wait_ready()
            await gateway.stop()
            while server.pid is not None:
                await server.changed.park()


@asynccontextmanager
async def _stuck_reader(url: str) -> AsyncIterator[None]:
    """A client that asks for megabytes and reads none of them."""
    async with _narrow_client(url) as sock:
        for _ in range(60):
            await _send(sock, *(List(id=i, limit=1000) for i in range(10)))
        yield


async def test_a_slow_reader_is_told_how_everything_ended(tmp_path: Path) -> None:
    """More is owed to it than it can read before the gateway is gone."""
    reader = ClientProtocol(parse_uri("ws://localhost/v1/ws"), state=OPEN)
    heard: list[dict[str, Any]] = []
    async with _served(tmp_path, HATCHERY_SERVER_DRAIN_S="0") as (child, url), _narrow_client(url) as sock:
        await _send(sock, *(List(id=i, limit=1000) for i in range(10)))
        with trio.fail_after(20):
            await _read_slowly(sock, reader, heard, lambda: any(m["type"] == "sessions" for m in heard))
            child.process.send_signal(signal.SIGTERM)
            await _read_slowly(sock, reader, heard, lambda: reader.close_rcvd is not None)
    assert [m["type"] for m in heard].count("end") == HATCHES
    assert reader.close_rcvd is not None
    assert reader.close_rcvd.code == 1001


async def _read_slowly(
    sock: trio.socket.SocketType, reader: ClientProtocol, heard: list[dict[str, Any]], enough: Callable[[], bool]
) -> None:
    """Some 200 kB a second."""
    while not enough():
        await trio.sleep(0.02)
        reader.receive_data(await sock.recv(4096))
        for event in reader.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                heard += msgspec.json.decode(event.data)


@asynccontextmanager
async def _narrow_client(url: str) -> AsyncIterator[trio.socket.SocketType]:
    """A client with a small buffer, which has said `hello` and started hatches."""
    at = urlsplit(url)
    with trio.socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect((at.hostname, at.port))
        head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": at.netloc, **HANDSHAKE}.items())
        await sock.send(f"GET /v1/ws HTTP/1.1\r\n{head}\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await sock.recv(1)
        await _send(
            sock, Hello(id=1), *(Start(id=i + 2, hatch=HatchRequest(prompt="x" * 2000)) for i in range(HATCHES))
        )
        yield sock


async def _send(sock: trio.socket.SocketType, *commands: Hello | Start | List) -> None:
    payload = msgspec.json.encode(commands)
    size = len(payload)
    head = b"\x81" + (
        bytes([0x80 | size])
        if size < 126
        else b"\xfe" + size.to_bytes(2, "big")
        if size < 65536
        else b"\xff" + size.to_bytes(8, "big")
    )
    data = memoryview(head + bytes(4) + payload)  # a mask of zeros
    while data:
        data = data[await sock.send(data) :]


async def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ("serve", "--port", str(port), "--llm", "sim", "--image", "sim", "--data", tmp_path / "data")
        status, out, err = await run_hatchery(*arguments, cwd=tmp_path)
    assert status == 1
    assert out == ""
    assert err.splitlines()[-1] == "hatchery: Address already in use: choose another --port or --data"
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["gateway", "gateway.serve", "gateway.hatching", "gateway.cli"])
async def test_the_parent_stays_small(module: str) -> None:
    heavy = ("mlx", "mflux", "torch", "transformers", "numpy", "mlx_lm", "huggingface_hub")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True, env={**os.environ})
    assert done.stdout.strip() == b"[]"
