import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import structlog
import trio
from starlette.types import Message, Receive, Scope, Send
from trio.testing import MockClock

from gateway.clients.connection import open_connection
from gateway.live.sessions import Beginning
from gateway.telemetry import configure_logging, with_request_ids
from protocol.commands import Cancel, HatchRequest, Hello, ImageOptions, Start
from protocol.events import Error
from tests.helpers.children import hatchery
from tests.helpers.gateways import Listener, running_gateway, running_services
from tests.helpers.wire import open_wire

CANARY = "xyzzy-a-sentence-that-nobody-else-says"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)


def test_logs_go_where_stderr_is_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display takes stderr over so that a log line does not tear it."""
    log = structlog.get_logger()
    configure_logging(verbose=True)
    for name in ("before", "within"):
        taken = io.StringIO()
        monkeypatch.setattr(sys, "stderr", taken)
        log.info(name, session="s")
        (line,) = taken.getvalue().splitlines()
        logged = json.loads(line)
        assert (logged["event"], logged["session"], logged["level"]) == (name, "s", "info")


def test_a_quiet_command_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=False)
    log = structlog.get_logger()
    log.info("hatch_started")
    log.warning("llm_demo", reason="why")
    said = capsys.readouterr()
    assert said.out == ""
    assert [json.loads(line)["event"] for line in said.err.splitlines()] == ["llm_demo"]


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=False)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()])
def test_a_traceback_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(verbose=False)
    token = f"Bearer {CANARY}"
    try:
        int(token[:0])
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "test_telemetry.py" in stream.getvalue()
    assert CANARY not in stream.getvalue()


async def test_every_end_is_logged_with_its_reason(
    autojump_clock: MockClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(verbose=True)
    async with running_services(tmp_path, sim__tokens_per_s=1) as services:
        hatch = Beginning(hatch=HatchRequest(prompt="a fox"))
        done, cancelled, stopped = [(await services.sessions.start("ada", hatch)).view.session for _ in range(3)]
        await services.sessions.cancel("ada", session=cancelled, reason="second thoughts")
        await services.sessions.cancel("ada", session=stopped, reason="")
        await trio.sleep(1000)
        last = (await services.sessions.start("ada", hatch)).view.session
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    ends = {line["session"]: line for line in logged if line["event"] == "hatch_ended"}
    told = {session: (end["outcome"], end.get("reason")) for session, end in ends.items()}
    assert told == {
        done: ("done", None),
        cancelled: ("cancelled", "second thoughts"),
        stopped: ("cancelled", "no reason given"),
        last: ("cancelled", "the gateway stops"),
    }
    assert ends[cancelled]["cancel_latency_ms"] == 0
    assert ends[done]["total_ms"] > 0


async def test_what_is_logged_for_a_request_carries_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.get_logger().info("called")
        structlog.get_logger().info("called")

    async def receive() -> Message:
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    for _ in range(2):
        await with_request_ids(app)({"type": "http"}, receive, send)
    structlog.get_logger().info("called")
    ids = [json.loads(line).get("request") for line in capsys.readouterr().err.splitlines()]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert ids[4] is None


async def test_what_is_logged_for_a_connection_carries_its_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_gateway(tmp_path, server__bad_messages=1) as gateway:
        configure_logging(verbose=True)
        async with open_wire(gateway.url) as one, open_wire(gateway.url) as other:
            ids = [wire.heard[0]["connection"] for wire in (one, other)]
            for wire in (one, other):
                await wire.start()
                await wire.send({"type": "nonsense"}, {"type": "nonsense"})
                await wire.closed()
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for event in ("hatch_started", "too_many_bad_messages"):
        assert [line.get("connection") for line in logged if line["event"] == event] == ids
    assert "connection" not in next(line for line in logged if line["event"] == "gateway_stops")


async def test_no_prompt_reaches_the_log(tmp_path: Path) -> None:
    arguments = ("serve", "--port", "0", "--llm", "demo", "--image", "demo", "--data", tmp_path / "data")
    async with hatchery(*arguments, cwd=tmp_path, environ={"HATCHERY_SERVER_DRAIN_S": "0"}) as child:
        url = (await child.until("listens at")).split()[3]
        fits = HatchRequest(prompt=CANARY, image=ImageOptions(steps=2, width=64, height=64))
        too_large = HatchRequest(prompt=CANARY, image=ImageOptions(steps=150))
        with trio.fail_after(60):
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
                assert (await http.post("/v1/hatches", json={"prompt": CANARY, CANARY: 1})).status_code == 202
                assert (await http.post("/v1/hatches", json={"prompt": [CANARY]})).status_code == 400
            async with open_connection(url) as client, trio.open_nursery() as nursery:
                listener = Listener(client)
                nursery.start_soon(listener.listen)
                await listener.send(Hello(id=1, token=CANARY), Start(id=2, hatch=too_large))
                refused = await listener.until(Error)
                assert refused.code == "too_large", refused
                done, cancelled = [(await listener.start(fits, id=number)).session for number in (3, 4)]
                await listener.send(Cancel(id=5, session=cancelled))
                outcomes = [(await listener.end(session)).outcome for session in (done, cancelled)]
                nursery.cancel_scope.cancel()
        child.process.terminate()
        assert await child.ended() == 0
    assert outcomes == ["done", "cancelled"]
    assert "hatch_ended" in child.err
    assert CANARY not in child.err + child.out
