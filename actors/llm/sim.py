"""A writer for load tests and virtual time: in this process, scripted from a seed, nothing but sleeps and a persona."""

import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
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
    is the relative spread of every duration. Failures: refused, cut off in mid-answer, invalid until repaired.
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
    stamps: bool = False


class SimWriter:
    """Plays a WriterScript; the same seed and request give the same answer at the same times."""

    name = "sim"

    def __init__(self, script: WriterScript, seed: int = 0) -> None:
        self.maker = Maker(engine=self.name, version=own_version())
        self._script = script
        self._seed = seed

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """The scripted answer. Raises LlmUnavailable as often as the script says."""
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        rng = random.Random(f"{self._seed}\0{request.seed}\0{request.prompt}")
        await self._sleep(self._script.first_token_s, rng)
        if rng.random() < self._script.unavailable:
            raise LlmUnavailable("The simulated LLM server refuses work.")
        repair = any(message.role == "assistant" for message in request.messages)
        invalid = rng.random() < self._script.invalid and not repair
        cut_off = rng.random() < self._script.cut_off
        persona = msgspec.to_builtins(_persona(request.prompt, 5 * self._script.tokens, rng, self._script.stamps))
        if invalid:
            del persona["avatar_prompt"]
        async with aclosing(self._chunks(json.dumps(persona, ensure_ascii=False), cut_off, rng)) as chunks:
            yield chunks

    async def _chunks(self, text: str, cut_off: bool, rng: random.Random) -> AsyncGenerator[Chunk, None]:
        script = self._script
        size = 5 * script.tokens_per_piece
        end = rng.randrange(len(text)) if cut_off else len(text)
        for at in range(0, end, size):
            piece = text[at : min(at + size, end)]
            yield TextChunk(piece.replace(BLANK, stamp()) if script.stamps else piece)
            await self._sleep(script.tokens_per_piece / script.tokens_per_s, rng)
        if not cut_off:
            yield Finished("stop")

    async def _sleep(self, seconds: float, rng: random.Random) -> None:
        await trio.sleep(seconds * rng.uniform(1 - self._script.jitter, 1 + self._script.jitter))


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
