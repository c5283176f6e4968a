"""Whole hatches whose persona is written by a real `mlx_lm.server`: pieces, cancels, and a server that is killed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from protocol.commands import Cancel, HatchRequest
from protocol.events import End, PersonaReady, Progress, State, Text
from protocol.maker import Maker
from tests.helpers.gateways import Listener, check_session, listening_client, running_gateway
from tests.helpers.tiny_mlx_lm import PERSONA, SLOW_LAYERS, MlxLmServer, mlx_lm_server, tiny_model

HATCH = HatchRequest(prompt="A clockwork owl.")


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes its persona in some six seconds."""
    return tiny_model(tmp_path_factory.mktemp("slow"), layers=SLOW_LAYERS)


@asynccontextmanager
async def mlx_lm_client(data: Path, server: MlxLmServer) -> AsyncIterator[Listener]:
    async with (
        running_gateway(data, llm__engine=server.url, image__engine="sim", hatch__restarts=0) as gateway,
        listening_client(gateway) as listener,
    ):
        yield listener


async def test_the_persona_grows_while_the_server_writes(tmp_path: Path, slow_model: Path) -> None:
    async with mlx_lm_server(slow_model) as server, mlx_lm_client(tmp_path, server) as listener:
        session = (await listener.start(HATCH)).session
        end = await listener.end(session)
    assert end.outcome == "done"
    assert end.receipt.llm == "closed"
    (ready,) = listener.all(PersonaReady)
    assert ready.persona == PERSONA
    assert ready.writer == Maker(engine="openai"), "it tells its model's name to nobody"
    texts = [(time, message) for time, message in listener.heard if isinstance(message, Text)]
    assert len({time for time, _ in texts}) > 20, "many frames, one after the other"
    backstory = "".join(text.delta for _, text in texts if text.path == "/backstory")
    assert backstory == PERSONA.backstory
    percents = [progress.percent for progress in listener.all(Progress) if progress.stage == "persona"]
    assert len([percent for percent in percents if 0 < percent < 33]) > 10
    assert all(progress.basis != "measured" for progress in listener.all(Progress) if 0 < progress.percent < 33)
    check_session(listener, session)


async def test_a_cancel_stops_the_server(tmp_path: Path, slow_model: Path) -> None:
    """A server that writes one answer at a time writes the next one at once only if the cancelled one has stopped."""
    one_at_a_time = ("--decode-concurrency=1", "--prompt-concurrency=1")
    async with mlx_lm_server(slow_model, *one_at_a_time) as server, mlx_lm_client(tmp_path, server) as listener:
        session = (await listener.start(HATCH)).session
        await listener.until(Text, lambda text: text.path == "/name")
        await listener.send(Cancel(id=1, session=session))
        end = await listener.end(session)
        asked = trio.current_time()
        second = (await listener.start(HATCH, id=2)).session
        await listener.until(Text, lambda text: text.session == second)
        waited = trio.current_time() - asked
        await listener.send(Cancel(id=3, session=second))
        await listener.end(second)
    assert end.outcome == "cancelled"
    assert (end.receipt.llm, end.receipt.worker) == ("closed", "none")
    assert end.receipt.cancel_latency_ms is not None
    assert end.receipt.cancel_latency_ms < 500
    assert waited < 3.0, "the rest of the first answer takes longer than that"
    check_session(listener, session)


async def test_a_killed_server_is_a_failure_and_no_short_success(tmp_path: Path, slow_model: Path) -> None:
    async with mlx_lm_server(slow_model) as server, mlx_lm_client(tmp_path, server) as listener:
        session = (await listener.start(HATCH)).session
        await listener.until(Text, lambda text: text.path == "/backstory")
        server.process.kill()
        end = await listener.end(session)
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code in ("llm_failed", "llm_unavailable")
    assert listener.all(PersonaReady) == []
    assert {state.state for state in listener.all(State)} <= {"writing"}
    check_session(listener, session)


async def test_an_answer_that_is_no_persona_is_repaired_once_and_then_refused(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", msgspec.json.encode({"name": "Bo"}).decode())
    async with mlx_lm_server(model) as server, mlx_lm_client(tmp_path / "data", server) as listener:
        session = (await listener.start(HATCH)).session
        end = await listener.end(session)
    assert end.error is not None
    assert end.error.code == "persona_invalid"
    assert "species" in end.error.message
    assert len(listener.all(End)) == 1
