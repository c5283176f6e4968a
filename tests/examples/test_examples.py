"""The README's examples without a client of ours, run as they stand there against a real gateway."""

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from tests.helpers.gateways import running_gateway
from tests.helpers.node import NODE, run_node
from tests.helpers.packages import package
from tests.helpers.readme import README
from tests.helpers.required import require

USUAL: Final = "127.0.0.1:8642"


def example(holds: str) -> str:
    """The one block of the section that holds these words."""
    section = README.read_text(encoding="utf-8").partition("\n## Examples\n")[2].partition("\n## ")[0]
    (found,) = (block for block in re.findall(r"```\w+\n(.*?)```", section, re.DOTALL) if holds in block)
    return str(found)


@asynccontextmanager
async def gateway_address(data: Path) -> AsyncIterator[str]:
    with trio.fail_after(60):
        async with running_gateway(data, sim__tokens_per_s=2000, sim__step_s=0.02) as gateway:
            yield gateway.url.removeprefix("http://")


async def test_a_browser_needs_no_library(tmp_path: Path) -> None:
    script = tmp_path / "example.mjs"
    async with gateway_address(tmp_path / "data") as address:
        await trio.Path(script).write_text(example("new WebSocket").replace(USUAL, address))
        said = (await run_node(script)).splitlines()
    assert said[0].split() == ["welcome"]
    assert said[1].split() == ["accepted"]
    assert any(line.startswith("progress 100 ") for line in said), said
    assert said[-1].split() == ["end"]


async def test_curl_starts_follows_shows_and_cancels(tmp_path: Path) -> None:
    require("curl")
    async with gateway_address(tmp_path / "data") as address:
        script = example("curl").replace(USUAL, address)
        done = await trio.run_process(["sh", "-eu", "-c", script], capture_stdout=True, stderr=subprocess.STDOUT)
    *events, rest = done.stdout.decode().split("\n\n")
    told = [json.loads(event.partition("data: ")[2]) for event in events if "data: " in event]
    assert told[0]["type"] == "snapshot"
    assert (told[-1]["type"], told[-1]["outcome"]) == ("end", "done")
    shown, cancelled = _objects(rest)
    assert (shown["type"], shown["state"]) == ("snapshot", "done")
    assert (cancelled["session"], cancelled["state"]) == (shown["session"], "done")


async def test_wscat_shows_a_whole_hatch(tmp_path: Path) -> None:
    wscat = f"{NODE} {package('wscat') / 'bin' / 'wscat'}"
    async with gateway_address(tmp_path / "data") as address, trio.open_nursery() as nursery:
        script = "exec " + example("wscat").replace("npx wscat", wscat).replace(USUAL, address)
        stays = partial(  # wscat ends with its standard input
            trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        process: trio.Process = await nursery.start(stays, ["sh", "-c", script])
        assert process.stdout is not None
        said = ""
        async for part in process.stdout:
            said += part.decode(errors="replace")
            if '"type":"end"' in said:
                break
        process.terminate()
    assert '"type":"welcome"' in said
    assert '"outcome":"done"' in said


def _objects(text: str) -> list[Any]:
    """JSON objects, one directly behind the other."""
    found, at = [], 0
    while at < len(text):
        value, at = json.JSONDecoder().raw_decode(text, at)
        found.append(value)
    return found
