import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from gateway import rlimits
from tests.helpers.children import hatchery
from tests.helpers.gateways import PERSONA
from tests.helpers.wire import open_wire

SCRIPT = """
import resource
from gateway.rlimits import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


async def _raised(soft: int, hard: int) -> list[int]:
    script = SCRIPT.format(soft=soft, hard=hard)
    done = await trio.run_process([sys.executable, "-c", script], capture_stdout=True, env={**os.environ})
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(256, 4096, 4096), (256, 256, 256), (100, 300, 300)],
)
async def test_the_soft_limit_goes_up_to_the_hard_one(soft: int, hard: int, raised: int) -> None:
    assert await _raised(soft, hard) == [soft, raised, hard]


def test_there_is_a_bound_and_nothing_is_ever_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 1_000_000), (1024, resource.RLIM_INFINITY), (100_000, 1_000_000), (resource.RLIM_INFINITY,) * 2]
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, pair: asked.append(pair))
    for pair in limits:
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, pair=pair: pair)
        assert rlimits.raise_open_files() == pair[0]
    assert asked == [(65_536, 1_000_000), (65_536, resource.RLIM_INFINITY)]


def test_what_the_system_refuses_is_asked_for_in_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def setrlimit(_kind: int, pair: tuple[int, int]) -> None:
        if pair[0] > 10_240:
            raise ValueError("Invalid argument")
        taken.append(pair[0])

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert rlimits.raise_open_files() == 256
    assert taken == [10_240]


@contextlib.contextmanager
def _few_open_files(soft: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_children_of_the_real_gateway_get_the_limit_that_it_was_started_with(tmp_path: Path) -> None:
    """A painter and a managed LLM server, each a script that writes its limit down."""
    for name in ("paint", "write"):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\nulimit -n > {tmp_path}/{name}.part\nmv {tmp_path}/{name}.part {script}.limit\n")
        script.chmod(0o755)
    arguments = ("serve", "--port", "0", "--llm", str(tmp_path / "write"), "--image", str(tmp_path / "paint"))
    async with contextlib.AsyncExitStack() as stack:
        with _few_open_files(300):
            running = hatchery(*arguments, "--data", tmp_path / "data", cwd=tmp_path)
            child = await stack.enter_async_context(running)
        url = (await child.until("listens at")).split()[3]
        async with open_wire(url) as wire:
            persona = msgspec.to_builtins(PERSONA)
            accepted = await wire.ask("start", hatch={"prompt": "a fox", "persona": persona})
            await wire.end(accepted["session"])
        with trio.fail_after(10):
            while not (tmp_path / "write.limit").exists():  # noqa: ASYNC110 - another program writes it
                await trio.sleep(0.05)
        if sys.platform == "linux":
            assert resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE)[0] > 300, "the gateway's own is raised"
    assert [(tmp_path / f"{name}.limit").read_text() for name in ("paint", "write")] == ["300\n"] * 2
