"""A writer for load tests and virtual time: in this process, scripted from a seed, nothing but sleeps and a persona."""

import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Annotated, Final

import msgspec
import trio
from msgspec import Meta

from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk
from actors.versions import own_version
from protocol.errors import LlmUnavailable
from protocol.maker import Maker
from protocol.persona import Persona

Share = Annotated[float, Meta(ge=0, le=1)]

BLANK: Final = f"@{0:013}"  # where a stamp goes

_WORDS: Final = (
    "amber",
    "brook",
    "cloud",
    "dusk",
    "ember",
    "fern",
    "glade",
    "iris",
    "lantern",
    "mellow",
    "opal",
    "pine",
)


class WriterScript(msgspec.Struct, frozen=True, kw_only=True):
    """How simulated writing goes: durations in seconds, rates as shares of the requests.

    A persona has about `tokens` tokens of five characters; `tokens_per_piece` of them come with each wake-up. `jitter`
    is the relative spread of every duration. Faults: refused, cut off in mid-answer, invalid until repaired, silent for
    `stall_s` seconds in mid-answer.
    With `stamps` the backstory tells now and then, in milliseconds since 1970, when it was written: `@1700000000000`.
    """

    first_token_s: Annotated[float, Meta(ge=0)] = 0.3
    tokens_per_s: Annotated[float, Meta(gt=0)] = 40.0
    tokens: Annotated[int, Meta(ge=80, le=400)] = 150
    tokens_per_piece: Annotated[int, Meta(ge=1)] = 4
    jitter: Share = 0.2
    unavailable: Share = 0.0
    cut_off: Share = 0.0
    invalid: Share = 0.0
    stalls: Share = 0.0
    stall_s: Annotated[float, Meta(gt=0)] = 90.0
    stamps: bool = False


class SimWriter:
    """Plays a WriterScript; the same seed and request give the same answer at the same times.

    Faults are drawn anew for every request, in the order of their coming. `sleep` is for who has a cheaper one.
    """

    name = "sim"

    def __init__(
        self, script: WriterScript, seed: int = 0, sleep: Callable[[float], Awaitable[None]] = trio.sleep
    ) -> None:
        self.maker = Maker(engine=self.name, version=own_version())
        self._script = script
        self._seed = seed
        self._pause = sleep
        self._fates = random.Random(f"{seed}\0fates")

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """The scripted answer. Raises LlmUnavailable as often as the script says."""
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        rng = random.Random(f"{self._seed}\0{request.seed}\0{request.prompt}")
        script, fates = self._script, self._fates
        refused, invalid, cut_off, stalls = (
            fates.random() < share for share in (script.unavailable, script.invalid, script.cut_off, script.stalls)
        )
        await self._sleep(script.first_token_s, rng)
        if refused:
            raise LlmUnavailable("The simulated LLM server refuses work.")
        repair = any(message.role == "assistant" for message in request.messages)
        persona = msgspec.to_builtins(_persona(request.prompt, 5 * script.tokens, rng, script.stamps))
        if invalid and not repair:
            del persona["avatar_prompt"]
        text = json.dumps(persona, ensure_ascii=False)
        silent_at = fates.randrange(len(text)) if stalls else None
        if cut_off:
            text = text[: fates.randrange(len(text))]
        async with aclosing(self._chunks(text, rng, silent_at=silent_at, finishes=not cut_off)) as chunks:
            yield chunks

    async def _chunks(
        self, text: str, rng: random.Random, *, silent_at: int | None, finishes: bool
    ) -> AsyncGenerator[Chunk, None]:
        script = self._script
        size = 5 * script.tokens_per_piece
        for at in range(0, len(text), size):
            piece = text[at : at + size]
            yield TextChunk(piece.replace(BLANK, stamp()) if script.stamps else piece)
            await self._sleep(script.tokens_per_piece / script.tokens_per_s, rng)
            if silent_at is not None and at <= silent_at < at + size:
                await self._pause(script.stall_s)
        if finishes:
            yield Finished("stop")

    async def _sleep(self, seconds: float, rng: random.Random) -> None:
        await self._pause(seconds * rng.uniform(1 - self._script.jitter, 1 + self._script.jitter))


def stamp() -> str:
    """The time, as long as a blank, for whoever measures how old a message is."""
    return f"@{time.time_ns() // 1_000_000:013}"


def _persona(prompt: str, characters: int, rng: random.Random, stamps: bool) -> Persona:
    """A small valid persona whose JSON is about so many characters long (at least 400), with room for stamps."""
    room = max(characters - 330, 70)  # what the keys, the brackets and the short fields do not take

    def words(length: int) -> str:
        text = " ".join(rng.choices(_WORDS, k=length // 5 + 1))
        return text[:length].rstrip()

    backstory = words(min(room * 4 // 7, 1500))
    return Persona(
        name=rng.choice(_WORDS).capitalize(),
        species="sim",
        tagline="".join(c for c in prompt[:60] if c.isprintable()) or "A quiet one.",
        traits=rng.sample(_WORDS, 3),
        backstory=_blanks(backstory) if stamps else backstory,
        greeting=words(room // 7),
        system_prompt=words(room // 7),
        palette=[f"#{rng.randrange(1 << 24):06x}" for _ in range(3)],
        avatar_prompt=words(room // 7),
    )


def _blanks(text: str) -> str:
    """The text with as many blanks as fit: a piece that holds a whole one can be stamped."""
    return " ".join([BLANK] * (len(text) // (len(BLANK) + 1))) or text
