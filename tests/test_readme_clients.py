"""The README's examples of the clients, run as they stand there against a real gateway."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from tests.helpers.gateways import running_gateway
from tests.helpers.node import run_node
from tests.helpers.readme import README, ROOT

USUAL: Final = "http://127.0.0.1:8642"


def example(language: str, holds: str) -> str:
    """The one block of a language that holds these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if holds in block)
    return str(found)


@asynccontextmanager
async def gateway_url(tmp_path: Path) -> AsyncIterator[str]:
    with trio.fail_after(60):
        async with running_gateway(tmp_path / "data", sim__tokens_per_s=2000, sim__step_s=0.02) as gateway:
            yield gateway.url


async def test_the_javascript_example_hatches_in_ten_lines(tmp_path: Path) -> None:
    code = example("js", "/client.js")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    script = tmp_path / "example.mjs"
    async with gateway_url(tmp_path) as url:
        client = (ROOT / "gateway/web/client.js").as_uri()
        await trio.Path(script).write_text(code.replace('"/client.js"', f'"{client}"').replace(USUAL, url))
        said = (await run_node(script)).splitlines()
    assert any(line.startswith("33 %") or " Step " in line for line in said), said
    assert re.fullmatch(r"done \w.* /v1/artifacts/\S+", said[-1]), said


async def _run_python(code: str, tmp_path: Path) -> list[str]:
    script = tmp_path / "example.py"
    async with gateway_url(tmp_path) as url:
        await trio.Path(script).write_text(code.replace(USUAL, url))
        done = await trio.run_process(
            [sys.executable, script], env={"PYTHONPATH": str(ROOT)}, capture_stdout=True, stderr=subprocess.STDOUT
        )
    return done.stdout.decode().splitlines()


async def test_the_python_examples_hatch_and_fetch_the_picture(tmp_path: Path) -> None:
    for name in ("open_client", "connect_sync"):
        said = await _run_python(example("python", f"{name}("), tmp_path)
        assert said[0].startswith("Snapshot"), said
        assert "End done" in said, said
        assert re.fullmatch(r"\w.*: \d+ bytes", said[-1]), said
