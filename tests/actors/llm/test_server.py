"""A managed LLM server, with a real child that shows the habits of real ones."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk, Waiting
from actors.llm.server import LlmServer, ServerLimits, open_llm_server, with_port
from protocol.errors import LlmUnavailable
from protocol.restart import RestartPolicy

TOY = Path(__file__).parents[2] / "helpers" / "toy_llm_server.py"
REQUEST = LlmRequest(messages=(), prompt="An owl")
HELLO = [TextChunk("Hello"), Finished("stop")]
SOON = RestartPolicy(intensity=3, period_s=60.0, backoff_s=0.01, backoff_max_s=0.01)


@asynccontextmanager
async def toy(
    *options: str, start_s: float = 20.0, stop_s: float = 4.0, restarts: RestartPolicy = SOON
) -> AsyncIterator[LlmServer]:
    command = (sys.executable, str(TOY), *options)
    environ = {**os.environ, "HATCHERY_LLM_API_KEY": "sk-secret"}
    with trio.fail_after(40):
        limits = ServerLimits(start_s=start_s, stop_s=stop_s, restarts=restarts)
        async with open_llm_server(command, environ, limits=limits) as server:
            yield server


async def collect(server: LlmServer) -> list[Chunk]:
    async with server.open_stream(REQUEST) as stream:
        return [chunk async for chunk in stream]


def server_starts(server: LlmServer) -> str:
    return f"{server.name} is starting"


async def until(server: LlmServer, holds: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not holds():
            await server.changed.park()


async def until_dead(pid: int) -> None:
    """Looked at again and again: it is nobody's child here."""
    with trio.fail_after(10):
        while True:
            if not lives(pid) or _is_zombie(pid):
                return
            await trio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("options", [(), ("--lists-only",)])
async def test_it_answers_once_it_is_ready(options: tuple[str, ...]) -> None:
    async with toy(*options) as server:
        assert server.obstacle is not None
        assert "is starting" in server.obstacle
        assert await collect(server) == [Waiting(server_starts(server)), Waiting(None), *HELLO]
        assert server.obstacle is None
        assert await collect(server) == HELLO
        await until(server, lambda: "asked for toy" in server.tail)
        assert "no secrets" in server.tail
        pid = server.pid
    assert pid is not None
    assert not lives(pid)


async def test_a_killed_server_is_run_again() -> None:
    async with toy() as server:
        await server.wait_ready()
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(server, lambda: server.obstacle is not None)
        assert await collect(server) == [Waiting(server_starts(server)), Waiting(None), *HELLO]
        assert server.obstacle is None
        assert server.pid != first


async def test_one_that_is_killed_in_mid_answer_may_be_asked_again() -> None:
    async with toy("--halt=600") as server:
        await server.wait_ready()
        assert server.pid is not None
        async with server.open_stream(REQUEST) as stream:
            assert await anext(stream) == TextChunk("Hello")
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(LlmUnavailable, match="ended in mid-answer") as broken:
                await anext(stream)
    assert broken.value.retryable


async def test_one_that_hangs_up_and_lives_on_has_only_not_finished() -> None:
    async with toy("--halt=0") as server:
        await server.wait_ready()
        assert await collect(server) == [TextChunk("Hello")]


async def test_one_that_keeps_ending_is_given_up() -> None:
    async with toy("--exit=3", restarts=RestartPolicy(intensity=2, backoff_s=0.01)) as server:
        with pytest.raises(LlmUnavailable, match="keeps ending"):
            await server.wait_ready()
        with pytest.raises(LlmUnavailable, match=r"correct llm\.engine") as late:
            await collect(server)
        assert not late.value.retryable
        assert server.obstacle == late.value.message
        assert "the model is broken" in server.tail
        assert server.pid is None


async def test_a_missing_command_is_given_up() -> None:
    none = RestartPolicy(intensity=0)
    async with open_llm_server(("no-such-llm-server",), os.environ, limits=ServerLimits(restarts=none)) as server:
        with pytest.raises(LlmUnavailable, match="no-such-llm-server keeps ending"):
            await server.wait_ready()


async def test_one_that_never_listens_is_stopped_and_run_again() -> None:
    async with toy("--mute", start_s=0.2, restarts=RestartPolicy(intensity=1, backoff_s=0.01)) as server:
        await until(server, lambda: server.pid is not None)
        first = server.pid
        with pytest.raises(LlmUnavailable, match="keeps ending"):
            await server.wait_ready()
        assert first is not None
        assert not lives(first)


async def test_a_talkative_server_is_never_held_up_and_little_is_kept() -> None:
    async with toy("--flood=2000") as server:
        await server.wait_ready()
        for _ in range(2):
            assert (await collect(server))[-1] == Finished("stop")
        assert len(server.tail) < 60_000


async def test_the_stubborn_and_the_leftovers_are_gone_when_the_block_ends() -> None:
    async with toy("--stubborn", "--child", stop_s=0.2) as server:
        await server.wait_ready()
        pid = server.pid
        child = next(int(line.split()[1]) for line in server.tail.splitlines() if line.startswith("child"))
        assert lives(child)
    assert pid is not None
    assert not lives(pid)
    await until_dead(child)


async def test_in_a_hurry_it_is_ended_while_the_block_goes_on_and_is_not_run_again() -> None:
    async with toy("--stubborn", stop_s=0.2) as server:
        await server.wait_ready()
        server.hurry()
        await until(server, lambda: server.pid is None)
        await trio.sleep(5 * SOON.backoff_max_s)
        assert server.pid is None
        began = trio.current_time()
    assert trio.current_time() - began < 0.1, "nothing was left to wait for"


def _is_zombie(pid: int) -> bool:
    """Dead, and not collected by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_it_does_not_outlive_a_gateway_that_is_killed() -> None:
    """Nobody stops it then: its terminal hangs up."""
    program = f"""
import os, sys, trio
from actors.llm.server import open_llm_server

async def main():
    async with open_llm_server({(sys.executable, str(TOY))!r}, os.environ) as server:
        await server.wait_ready()
        print(server.pid, file=sys.stderr)
        await trio.sleep_forever()

trio.run(main)
"""
    root = TOY.parents[2]
    gateway = await trio.lowlevel.open_process(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert gateway.stderr is not None
        with trio.fail_after(20):
            pid = int(await gateway.stderr.receive_some())
        assert lives(pid)
    finally:
        with trio.move_on_after(5, shield=True):
            gateway.kill()
            await gateway.wait()
    await until_dead(pid)


async def test_cancelled_while_it_starts_nothing_is_left() -> None:
    pid: int | None = None
    with trio.CancelScope() as scope:
        async with toy("--mute") as server:
            await until(server, lambda: server.pid is not None)
            pid = server.pid
            scope.cancel()
            await trio.sleep_forever()
    assert pid is not None
    assert not lives(pid)


@pytest.mark.parametrize(
    ("command", "url"),
    [
        (("serve", "--port", "9000"), "http://127.0.0.1:9000/v1"),
        (("serve", "--port=9000", "--host", "0.0.0.0"), "http://127.0.0.1:9000/v1"),
        (("serve", "--host=192.168.0.4", "--port=9000"), "http://192.168.0.4:9000/v1"),
        (("serve", "--host", "::", "--port=9000"), "http://[::1]:9000/v1"),
    ],
)
def test_where_a_command_listens(command: tuple[str, ...], url: str) -> None:
    assert with_port(command) == (command, url)


def test_a_command_without_a_port_gets_a_free_one() -> None:
    argv, url = with_port(("serve", "--model", "m"))
    assert argv[:3] == ("serve", "--model", "m")
    assert argv[3] == "--port"
    assert url == f"http://127.0.0.1:{argv[4]}/v1"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", int(argv[4])))


async def test_a_port_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="base URL"):
        async with open_llm_server(("serve", "--port", "a lot"), {}):
            raise AssertionError
