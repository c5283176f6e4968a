"""What the gateway and a warm worker say to each other over the worker's own pipes: MessagePack in bounded frames.

A frame is its length in four bytes, big-endian, and that many bytes of MessagePack.
"""

import struct
from typing import Final, Generic, TypeVar

import msgspec

_LENGTH: Final = struct.Struct(">I")
ORDER_BYTES: Final = 256 * 1024
"""Bound on a frame to the worker."""
REPORT_BYTES: Final = 4096
"""Bound on a frame from the worker."""
MESSAGE_CHARS: Final = 900  # four bytes each at most, so a report with one stays within its bound


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all messages."""


class Setup(Message, frozen=True, kw_only=True):
    """What to load, said once, and when to leave: idle for `idle_s`, after `jobs`, or holding over `memory_bytes`."""

    command: str
    model: str | None = None
    base_model: str | None = None
    quantize: int | None = None
    lora: tuple[tuple[str, float], ...] = ()  # path and scale
    idle_s: float
    jobs: int
    memory_bytes: int


class Draw(Message, frozen=True, kw_only=True):
    """One picture; None leaves the choice to the model. `job` counts from 1, `output` is an absolute path.

    `input` is the picture that it begins from, `strength` what the command's own flag means by it. `stepwise` names a
    folder for the picture after each step, which costs one full decode a step.
    """

    job: int
    prompt: str
    output: str
    seed: int
    steps: int | None = None
    width: int | None = None
    height: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    input: str | None = None
    strength: float | None = None
    stepwise: str | None = None


Order = Setup | Draw


class Ready(Message, frozen=True, kw_only=True):
    """The model is loaded, in `load_s` seconds from the program's start; `version` is mflux's."""

    load_s: float
    model: str
    version: str


class Unloadable(Message, frozen=True, kw_only=True):
    """The model cannot be loaded; the worker leaves."""

    message: str


class Started(Message, frozen=True, kw_only=True):
    """From here on Ctrl-C stops the job."""

    job: int


class Drawn(Message, frozen=True, kw_only=True):
    """The picture is at the job's `output`."""

    job: int
    seconds: float


class Stopped(Message, frozen=True, kw_only=True):
    """Ctrl-C has stopped the job; what it left is not to be trusted."""

    job: int


class Failed(Message, frozen=True, kw_only=True):
    """The job failed with an exception of class `kind`; the model is kept."""

    job: int
    kind: str
    message: str


class Interrupted(Message, frozen=True, kw_only=True):
    """Ctrl-C came while no job could be stopped."""


class Idle(Message, frozen=True, kw_only=True):
    """Ready for a job; `rss_bytes` is the worker's resident memory."""

    rss_bytes: int


class Leaving(Message, frozen=True, kw_only=True):
    """The worker exits by its own decision and takes no further job."""

    reason: str


Outcome = Drawn | Stopped | Failed
Report = Ready | Unloadable | Started | Outcome | Interrupted | Idle | Leaving

T = TypeVar("T")


class FrameReader(Generic[T]):
    """Puts frames together again from whatever pieces a pipe delivers."""

    def __init__(self, type_: object, limit: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(type_)
        self._limit = limit
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The messages that these bytes complete. Raises ValueError for what is no frame or exceeds the bound."""
        self._bytes += data
        messages: list[T] = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > self._limit:
                raise ValueError(f"a frame of {length} bytes is over the bound of {self._limit}")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            messages.append(self._decoder.decode(self._bytes[_LENGTH.size : end]))
            del self._bytes[:end]
        return messages


def frame(message: Message) -> bytes:
    """One message, framed."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


def job_mark(job: int) -> str:
    """The line that a worker prints when a job's output on the terminal is complete."""
    return f"hatchery: job {job} is over"
