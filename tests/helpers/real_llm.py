"""A real LLM server as a child process, and the persona that the tiny models of the tests write."""

import socket
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import trio

from protocol.persona import Persona

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

PERSONA = Persona(
    name="Ember",
    species="clockwork owl",
    tagline="Keeps the night shift of a city that forgot its bells.",
    traits=["patient", "wry", "counts everything twice"],
    backstory=(
        "Ember was wound up in a belfry above Český Krumlov and has not run down since.\n"
        "When the bells were sold, she learnt the hours by heart: 24 of them, and one more that nobody else knows. 🦉"
    ),
    greeting="Hoo — you are four minutes late. Sit; the kettle is honest.",
    system_prompt='You are Ember, a clockwork owl. Speak briefly, measure often, and never say "approximately".',
    palette=["#2b1d0e", "#d98e04", "#f3e9d2"],
    avatar_prompt="Portrait of a brass clockwork owl with amber eyes, moonlit belfry, soft rim light, blue and gold",
)
PERSONA_TEXT = msgspec.json.format(msgspec.json.encode(PERSONA), indent=2).decode()
"""What a tiny model says unless told otherwise: a valid persona over several lines."""
UNENDED_TEXT = PERSONA_TEXT.partition(", and never say")[0]
"""Ends inside the one field whose length no grammar bounds, so that it may go on for ever."""


class RealLlm(msgspec.Struct, frozen=True):
    """A running server: its base URL, its process, and the file it logs to."""

    url: str
    process: trio.Process
    log: Path


@asynccontextmanager
async def real_llm(
    argv: Sequence[str], port: int, *, env: Mapping[str, str], log: Path
) -> AsyncGenerator[RealLlm, None]:
    """Run the server that `argv` starts on this loopback port; ready when entered, killed and reaped when left.

    Raises RuntimeError, quoting its log, when it ends or is not ready within `START_TIMEOUT_S`.
    """
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    server = RealLlm(f"http://127.0.0.1:{port}/v1", process, log)
    try:
        await _wait_until_ready(server)
        yield server
    finally:
        with trio.move_on_after(STOP_TIMEOUT_S, shield=True):
            process.kill()
            await process.wait()


async def _wait_until_ready(server: RealLlm) -> None:
    with trio.move_on_after(START_TIMEOUT_S):
        async with httpx2.AsyncClient(trust_env=False) as client:
            while server.process.poll() is None:
                try:
                    if (await client.get(f"{server.url}/models")).is_success:
                        return
                except httpx2.TransportError:
                    await trio.sleep(0.1)
    raise RuntimeError(f"the LLM server did not start: {server.log.read_text()[-2000:]}")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
