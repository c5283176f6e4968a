"""The real `mlx_lm.server`, run by the gateway itself: what it writes, and how it comes back when it is killed."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from actors.llm.actor import WritingJob, run_llm_actor
from actors.llm.backend import Chunk, Finished, LlmRequest, Message, TextChunk
from actors.llm.server import LlmServer, ServerLimits, open_llm_server
from actors.slots import Slots
from protocol.errors import LlmUnavailable
from protocol.mail import EngineAwaited, LlmMail, PersonaWritten, PromptAdvanced, TextGrew, WritingAdvanced
from protocol.maker import Maker
from protocol.restart import RestartPolicy
from tests.helpers.real_llm import PERSONA, free_port
from tests.helpers.tiny_mlx_lm import SERVER_COMMAND, tiny_model

REQUEST = LlmRequest(messages=(Message("user", "A clockwork owl."),), prompt="A clockwork owl.")
LAYERS = 6
LIMITS = ServerLimits(start_s=60.0, restarts=RestartPolicy(intensity=3, backoff_s=0.1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes its persona in one or two seconds."""
    return tiny_model(tmp_path_factory.mktemp("model"), layers=LAYERS)


@asynccontextmanager
async def managed(model: Path, *options: str) -> AsyncIterator[LlmServer]:
    """It runs in a new home: without a download cache it cannot even list its models."""
    environ = {**os.environ, "MLX_DISABLE_COMPILE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(model / "none")}
    command = (SERVER_COMMAND, f"--model={model}", "--host=127.0.0.1", "--prefill-step-size=256", *options)
    with trio.fail_after(60):
        async with open_llm_server(command, environ, limits=LIMITS) as server:
            yield server


async def write(server: LlmServer) -> list[LlmMail]:
    mail: list[LlmMail] = []

    async def tell(letter: LlmMail) -> None:
        mail.append(letter)
        await trio.lowlevel.checkpoint()

    job = WritingJob(prompt="A clockwork owl.", owner="ann")
    await run_llm_actor(job, backend=server, slots=Slots(1), tell=tell, deliver=lambda _: None)
    return mail


async def kill_in_mid_answer(server: LlmServer) -> int:
    """The pid of the server that was killed."""
    pid = server.pid
    assert pid is not None
    heard: list[Chunk] = []
    with suppress(LlmUnavailable):  # it may be asked again
        async with server.open_stream(REQUEST) as stream:
            async for chunk in stream:
                if isinstance(chunk, TextChunk) and not heard:
                    os.kill(pid, signal.SIGKILL)
                    heard.append(chunk)
                assert not isinstance(chunk, Finished)
    assert heard
    return pid


async def test_a_persona_is_written_again_after_the_server_was_killed(model: Path) -> None:
    async with managed(model) as server:
        await server.wait_ready()
        killed = await kill_in_mid_answer(server)
        while server.obstacle is None:
            await server.changed.park()
        mail = await write(server)
        last = server.pid
    assert last != killed
    assert any(isinstance(letter, EngineAwaited) for letter in mail), "it is waited for"
    assert PersonaWritten(persona=PERSONA, writer=Maker(engine="mlx_lm.server", model=model.name)) in mail
    kinds = [type(letter) for letter in mail]
    read = [letter.fraction for letter in mail if isinstance(letter, PromptAdvanced)]
    assert len(read) > 3
    assert read == sorted(read)
    assert kinds.index(PromptAdvanced) < kinds.index(TextGrew) < kinds.index(WritingAdvanced)
    assert last is not None
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def is_taken(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


async def test_its_port_is_free_when_the_block_has_ended(model: Path) -> None:
    port = free_port()
    async with managed(model, f"--port={port}") as server:
        await server.wait_ready()
        assert is_taken(port)
    assert not is_taken(port)
