"""Tapes of hatches: recorded while they are watched, and loaded for the engines that play them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
import trio

from gateway.client import Client, Disconnected, HatchEvent, open_client
from gateway.config import ConfigError
from protocol.errors import HatcheryError
from protocol.events import Artifact, Engines, Snapshot
from protocol.tape import MAX_BYTES, Tape, TapeHeader, TapePicture, TapeUnreadable, read_tape, write_line

PREFIX: Final = "tape:"
FAILED: Final = 1


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    session: str
    url: str
    token: str | None
    picture: bool


class Recorder:
    """Writes what is told of one hatch to `out` as it comes; signed URLs, which would let others in, are left out."""

    def __init__(self, out: BinaryIO, *, server: str, engines: Engines) -> None:
        self.artifact: Artifact | None = None  # with its URL
        self.timing: Literal["live", "joined", "none"] | None = None
        self._out = out
        self._server = server
        self._engines = engines
        self._began = 0.0

    def take(self, message: HatchEvent) -> None:
        """One message more; the first one is a snapshot."""
        if self.timing is None and isinstance(message, Snapshot):
            self._begin(message)
        match message:
            case Artifact():
                self.artifact = message
                message = _unsigned(message)
            case Snapshot(artifacts=[*_, latest]):
                self.artifact = latest
                message = msgspec.structs.replace(message, artifacts=[_unsigned(each) for each in message.artifacts])
            case _:
                pass
        self._write(write_line((round(trio.current_time() - self._began, 4), message)))

    def finish(self, picture: bytes) -> None:
        """Keep the picture too."""
        self._write(write_line(TapePicture(picture=picture)))

    def _begin(self, snapshot: Snapshot) -> None:
        fresh = snapshot.epoch == 1 and not snapshot.offset and snapshot.state in ("queued", "writing", "waiting")
        self.timing = "live" if fresh else "joined" if snapshot.end is msgspec.UNSET else "none"
        self._began = trio.current_time()
        header = TapeHeader(
            session=snapshot.session,
            prompt=snapshot.prompt,
            timing=self.timing,
            server=self._server,
            engines=self._engines,
        )
        self._write(write_line(header))

    def _write(self, line: bytes) -> None:
        self._out.write(line)
        self._out.flush()


def recorder(client: Client, out: BinaryIO) -> Recorder:
    """A recorder of what is heard of a client's gateway."""
    assert client.welcome is not None
    return Recorder(out, server=client.welcome.server, engines=client.welcome.engines)


async def record(order: Order, out: BinaryIO = sys.stdout.buffer, say: Callable[[str], None] | None = None) -> int:
    """`hatchery tape`: watch a session to its end, write its tape, and return the exit code."""
    say = say or _say
    try:
        async with open_client(order.url, token=order.token, name="hatchery tape") as client:
            async with client.watch(order.session) as hatch:
                tape = recorder(client, out)
                async for message in hatch:
                    tape.take(message)
            if order.picture and tape.artifact is not None:
                tape.finish(await client.fetch(tape.artifact))
    except (HatcheryError, Disconnected) as error:
        say(str(error))
        return FAILED
    match tape.timing:
        case "none":
            say("this hatch was over: the tape has its words and picture, but not their times; record one that runs")
        case "joined":
            say("this hatch was under way: the tape has no times of what was there before")
        case _:
            pass
    return 0


def is_tape(engine: str) -> bool:
    """Whether a setting names a tape."""
    return engine.startswith(PREFIX)


def load_tape(engine: str, setting: str) -> Tape:
    """The tape that a setting's `tape:FILE` names. Raises ConfigError, naming the setting, the file and the line."""
    path = Path(engine.removeprefix(PREFIX)).expanduser()
    try:
        return _load(path)
    except TapeUnreadable as error:
        raise ConfigError(f"{setting}: {path} is no tape: {error}") from error
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from error


def _load(path: Path) -> Tape:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TapeUnreadable(data.count(b"\n"), f"it is longer than {MAX_BYTES} bytes")
    return read_tape(data)


def _unsigned(artifact: Artifact) -> Artifact:
    return msgspec.structs.replace(artifact, url="")


def _say(text: str) -> None:
    print(f"hatchery: {text}", file=sys.stderr)
