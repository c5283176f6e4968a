"""Whole hatches whose persona a real LLM server writes: pieces, cancels, and a server that is killed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from protocol.commands import Cancel, HatchRequest
from protocol.events import End, PersonaReady, Progress, State, Text
from protocol.maker import Maker
from tests.helpers.gateways import Listener, check_session, listening_client, running_gateway
from tests.helpers.real_llm import PERSONA, UNENDED_TEXT, RealLlm
from tests.helpers.tiny_llama_cpp import MODEL, SLOW_WIDTH, llama_server, tiny_gguf
from tests.helpers.tiny_mlx_lm import SLOW_LAYERS, mlx_lm_server, tiny_model

HATCH = HatchRequest(prompt="A clockwork owl.")


class Slow(msgspec.Struct, frozen=True):
    """A server, run with a model that takes seconds for its persona, or with one that has not ended for many more."""

    writer: Maker
    writes: Callable[[], AbstractAsyncContextManager[RealLlm]]
    goes_on: Callable[[], AbstractAsyncContextManager[RealLlm]]


def slow_mlx_lm(directory: Path) -> Slow:
    model = tiny_model(directory, layers=SLOW_LAYERS)
    one_at_a_time = ("--decode-concurrency=1", "--prompt-concurrency=1")
    unnamed = Maker(engine="openai")  # it tells its model's name to nobody
    return Slow(unnamed, lambda: mlx_lm_server(model), lambda: mlx_lm_server(model, *one_at_a_time))


def slow_llama_cpp(directory: Path) -> Slow:
    model = tiny_gguf(directory / "whole", width=2 * SLOW_WIDTH)
    endless = tiny_gguf(directory / "endless", UNENDED_TEXT, width=SLOW_WIDTH, endless=True)
    return Slow(Maker(engine="openai", model=MODEL), lambda: llama_server(model), lambda: llama_server(endless))


@pytest.fixture(scope="module", params=[slow_mlx_lm, slow_llama_cpp])
def slow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Slow:
    made = request.param(tmp_path_factory.mktemp("slow"))
    assert isinstance(made, Slow)
    return made


@asynccontextmanager
async def client_of(server: RealLlm, data: Path) -> AsyncIterator[Listener]:
    async with (
        running_gateway(data, llm__engine=server.url, image__engine="sim", hatch__restarts=0) as gateway,
        listening_client(gateway) as listener,
    ):
        yield listener


async def test_the_persona_grows_while_the_server_writes(tmp_path: Path, slow: Slow) -> None:
    async with slow.writes() as server, client_of(server, tmp_path) as listener:
        session = (await listener.start(HATCH)).session
        end = await listener.end(session)
    assert end.outcome == "done"
    assert end.receipt.llm == "closed"
    (ready,) = listener.all(PersonaReady)
    assert ready.persona == PERSONA
    assert ready.writer == slow.writer
    texts = [(time, message) for time, message in listener.heard if isinstance(message, Text)]
    assert len({time for time, _ in texts}) > 20, "many frames, one after the other"
    backstory = "".join(text.delta for _, text in texts if text.path == "/backstory")
    assert backstory == PERSONA.backstory
    percents = [progress.percent for progress in listener.all(Progress) if progress.stage == "persona"]
    assert len([percent for percent in percents if 0 < percent < 33]) > 10
    assert all(progress.basis != "measured" for progress in listener.all(Progress) if 0 < progress.percent < 33)
    check_session(listener, session)


async def test_a_cancel_stops_the_server(tmp_path: Path, slow: Slow) -> None:
    """A server that writes one answer at a time writes the next one at once only if the cancelled one has stopped."""
    async with slow.goes_on() as server, client_of(server, tmp_path) as listener:
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


async def test_a_killed_server_is_a_failure_and_no_short_success(tmp_path: Path, slow: Slow) -> None:
    async with slow.writes() as server, client_of(server, tmp_path) as listener:
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
    async with mlx_lm_server(model) as server, client_of(server, tmp_path / "data") as listener:
        session = (await listener.start(HATCH)).session
        end = await listener.end(session)
    assert end.error is not None
    assert end.error.code == "persona_invalid"
    assert "species" in end.error.message
    assert len(listener.all(End)) == 1
