import pytest
import trio
import trio.testing

from actors.llm.backend import Chunk, Finished, LlmRequest, Message, TextChunk
from actors.llm.draft import Draft
from actors.llm.sim import SimWriter, WriterScript
from protocol.errors import LlmUnavailable, PersonaInvalid
from protocol.persona import Persona

REQUEST = LlmRequest(messages=(Message("user", "a fox"),), prompt="a fox", seed=1)


async def read(writer: SimWriter, request: LlmRequest = REQUEST) -> tuple[list[Chunk], float]:
    began = trio.current_time()
    async with writer.open_stream(request) as chunks:
        return [chunk async for chunk in chunks], trio.current_time() - began


def persona(chunks: list[Chunk]) -> Persona:
    draft = Draft()
    for chunk in chunks:
        if isinstance(chunk, TextChunk):
            draft.feed(chunk.text)
    return draft.finish()


async def test_the_script_sets_length_and_pace(autojump_clock: trio.testing.MockClock) -> None:
    for tokens in (80, 150, 400):
        script = WriterScript(tokens=tokens, tokens_per_s=50, first_token_s=1, jitter=0)
        chunks, took = await read(SimWriter(script))
        assert len(persona(chunks).palette) == 3
        assert chunks[-1] == Finished("stop")
        length = sum(len(chunk.text) for chunk in chunks if isinstance(chunk, TextChunk))
        assert length == pytest.approx(5 * tokens, rel=0.3)
        assert took == pytest.approx(1 + length / 5 / 50, rel=0.05)


async def test_jitter_spreads_the_durations(autojump_clock: trio.testing.MockClock) -> None:
    took = [(await read(SimWriter(WriterScript(jitter=0.5), seed=seed)))[1] for seed in range(10)]
    assert len({round(seconds, 3) for seconds in took}) == 10
    assert 2 < min(took) < max(took) < 7


async def test_the_same_seed_and_request_play_the_same(autojump_clock: trio.testing.MockClock) -> None:
    writer = SimWriter(WriterScript(), seed=3)
    first, _ = await read(writer)
    assert (await read(writer))[0] == first
    assert (await read(SimWriter(WriterScript(), seed=4)))[0] != first
    assert (await read(writer, LlmRequest(messages=(), prompt="an owl", seed=1)))[0] != first


async def test_prompts_of_any_text_are_written(autojump_clock: trio.testing.MockClock) -> None:
    for prompt in ("", "\x00\x07", " " * 500, "🦊" * 300, '"\\'):
        persona((await read(SimWriter(WriterScript()), LlmRequest(messages=(), prompt=prompt)))[0])


async def test_failures_come_as_often_as_the_script_says(autojump_clock: trio.testing.MockClock) -> None:
    writer = SimWriter(WriterScript(unavailable=0.3))
    refused = 0
    for i in range(100):
        try:
            await read(writer, LlmRequest(messages=(), prompt=str(i)))
        except LlmUnavailable:
            refused += 1
    assert 15 < refused < 45


async def test_what_is_refused_once_may_be_answered_when_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    writer = SimWriter(WriterScript(unavailable=0.5))
    fates = set()
    for _ in range(20):
        try:
            await read(writer)
            fates.add("answered")
        except LlmUnavailable:
            fates.add("refused")
    assert fates == {"answered", "refused"}


async def test_a_stalled_answer_is_silent_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    chunks, took = await read(SimWriter(WriterScript(stalls=1, stall_s=1000)))
    assert persona(chunks).name
    assert 1000 < took < 1010


async def test_a_cut_off_answer_never_finishes(autojump_clock: trio.testing.MockClock) -> None:
    chunks, _ = await read(SimWriter(WriterScript(cut_off=1)))
    assert Finished("stop") not in chunks


async def test_an_invalid_answer_is_valid_once_repaired(autojump_clock: trio.testing.MockClock) -> None:
    writer = SimWriter(WriterScript(invalid=1))
    chunks, _ = await read(writer)
    with pytest.raises(PersonaInvalid, match="avatar_prompt"):
        persona(chunks)
    chat = (*REQUEST.messages, Message("assistant", "{}"), Message("user", "again"))
    repaired, _ = await read(writer, LlmRequest(messages=chat, prompt="a fox", seed=1))
    assert persona(repaired).avatar_prompt


async def test_leaving_early_leaves_nothing_open(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with SimWriter(WriterScript(tokens_per_s=1)).open_stream(REQUEST) as chunks:
            async for _ in chunks:
                pass
    assert scope.cancelled_caught
