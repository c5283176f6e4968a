import pytest
import trio
import trio.testing

from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk, ThinkingChunk
from actors.llm.draft import Draft
from actors.llm.tape import TapeWriter
from protocol.errors import LlmFailed
from tests.helpers.fakes import PERSONA
from tests.helpers.tapes import failure, tape, whole_tape, writing

REQUEST = LlmRequest(messages=(), prompt="whatever", seed=1)


async def play(writer: TapeWriter) -> tuple[list[Chunk], list[float]]:
    chunks: list[Chunk] = []
    times: list[float] = []
    async with writer.open_stream(REQUEST) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            times.append(trio.current_time())
    return chunks, times


@pytest.mark.parametrize("speed", [1.0, 50.0])
async def test_the_recorded_words_come_in_their_own_time(speed: float, autojump_clock: trio.testing.MockClock) -> None:
    chunks, times = await play(TapeWriter(whole_tape(), speed))
    draft = Draft()
    for chunk in chunks:
        if isinstance(chunk, TextChunk):
            draft.feed(chunk.text)
    assert draft.finish() == PERSONA
    assert chunks[0] == ThinkingChunk("Hm.")
    assert chunks[-1] == Finished("stop")
    assert times[:3] == pytest.approx([0.5 / speed, 1.0 / speed, 1.5 / speed])
    assert times[-1] == pytest.approx((writing()[-1][0] - 1.0) / speed)


async def test_where_the_tape_fails_it_fails_again(autojump_clock: trio.testing.MockClock) -> None:
    writer = TapeWriter(tape([*writing()[:6], failure(9.0, "hung up")]), 2.0)
    with pytest.raises(LlmFailed, match="on the tape the hatch fails here: hung up"):
        await play(writer)
    assert trio.current_time() == 4.0


async def test_it_says_what_it_is() -> None:
    assert TapeWriter(whole_tape(), 1.0).maker.engine == "tape"
    assert TapeWriter(whole_tape(), 1.0).maker.model is None
