"""`hatchery hatch`: a gateway of its own on a free port, one hatch through its WebSocket, and files at the end."""

import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Final

import msgspec
import trio
from rich.console import Console

from actors.cards import card_png
from gateway.client import Client, Hatch, HatchEvent, open_client
from gateway.config import Config
from gateway.display import Display, JsonLines, LiveDisplay, PlainLines, harmless
from gateway.painters import MFLUX
from gateway.serve import Gateway, open_gateway
from protocol.card import Making, to_card
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import HatcheryError
from protocol.events import Artifact, End, Engines, PersonaReady, Snapshot, State
from protocol.maker import Maker
from protocol.persona import Persona

EXIT: Final = {"done": 0, "failed": 1, "cancelled": 130}
REFUSED: Final = 2
AVATAR: Final = "avatar.png"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    prompt: str
    seed: int | None
    out: Path | None
    as_json: bool


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What `agent.json` holds."""

    persona: Persona
    prompt: str
    seed: int
    steps: int | None
    engines: Engines
    writer: Maker | None
    painter: Maker | None
    avatar: str
    avatar_sha256: str


async def hatch_one(config: Config, order: Order) -> int:
    """Hatch and save; returns the exit code. Raises ConfigError, or OSError when files cannot be written."""
    seed = SystemRandom().getrandbits(32) if order.seed is None else order.seed
    display = _choose_display(order)
    async with _own_gateway(config) as gateway, open_client(gateway.url, name="hatchery hatch") as client:
        run = _Run(display)
        try:
            with display:
                await run.hatch(client, HatchRequest(prompt=order.prompt, image=ImageOptions(seed=seed)))
        except HatcheryError as error:
            _complain(error.message)
            return REFUSED
        if run.end is None:
            _complain("left at the second interrupt; what still ran is stopped with the gateway")
            return EXIT["cancelled"]
        if run.end.outcome != "done":
            _complain(_epitaph(run.end, run.last_state))
        elif run.persona is not None and run.artifact is not None:
            agent = Agent(
                persona=run.persona,
                prompt=order.prompt,
                seed=seed,
                steps=run.artifact.steps,
                engines=run.end.receipt.engines,
                writer=run.writer,
                painter=run.artifact.painter,
                avatar=AVATAR,
                avatar_sha256=run.artifact.sha256,
            )
            folder = order.out or _free_folder(run.persona.name)
            files = _save(agent, await client.fetch(run.artifact), folder)
            display.say(f"{run.persona.name} has hatched: {folder}/ holds {', '.join(files)}")
        return EXIT[run.end.outcome]


@asynccontextmanager
async def _own_gateway(config: Config) -> AsyncIterator[Gateway]:
    """A gateway for this one hatch; its data go with it, unless a directory is named for them.

    The usual one may be in use by a gateway that serves.
    """
    with tempfile.TemporaryDirectory(prefix="hatchery-", ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / MFLUX).symlink_to(config.data / MFLUX)  # the same for all, and seconds to find out
        server = msgspec.structs.replace(config.server, data=config.server.data or scratch)
        hatch = msgspec.structs.replace(config.hatch, durable=bool(config.server.data))
        async with open_gateway(msgspec.structs.replace(config, server=server, hatch=hatch)) as gateway:
            yield gateway


def _complain(message: str) -> None:
    print(f"hatchery: {harmless(message)}", file=sys.stderr)


class _Run:
    """One hatch, seen from the client's side."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._over = trio.CancelScope()
        self.end: End | None = None  # stays None if it was left early
        self.persona: Persona | None = None
        self.writer: Maker | None = None
        self.artifact: Artifact | None = None
        self.last_state = "queued"

    async def hatch(self, client: Client, request: HatchRequest) -> None:
        """Start, show everything, and return at the end; Ctrl-C asks for a cancel and waits for its receipt.

        Raises HatcheryError when it is refused.
        """
        async with client.hatch(request) as hatch:
            with self._over:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._cancel_on_interrupt, hatch)
                    async for message in hatch:
                        self._display.show(message)
                        self._take(message)
                    nursery.cancel_scope.cancel()

    def _take(self, message: HatchEvent) -> None:
        match message:
            case PersonaReady(persona=persona, writer=writer):
                self.persona, self.writer = persona, writer
            case Artifact():
                self.artifact = message
            case State(state=state) if state != "cancelling":
                self.last_state = state
            case Snapshot():
                self._catch_up(message)
            case End():
                self.end = message
            case _:
                pass

    def _catch_up(self, snapshot: Snapshot) -> None:
        if snapshot.artifacts:
            self.artifact = snapshot.artifacts[-1]
            self.persona = msgspec.convert(snapshot.persona, Persona)
            self.writer = snapshot.writer or None
        if isinstance(snapshot.end, End):
            self.end = snapshot.end
        elif snapshot.state != "cancelling":
            self.last_state = snapshot.state

    async def _cancel_on_interrupt(self, hatch: Hatch) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                await hatch.cancel("interrupted")
                break
            async for _ in signals:
                self._over.cancel()  # asked twice: leave, and let the gateway's own stop do the rest


def _choose_display(order: Order) -> Display:
    if order.as_json:
        return JsonLines(sys.stdout)
    console = Console()
    return LiveDisplay(console, order.prompt) if console.is_terminal else PlainLines(console)


def _free_folder(name: str) -> Path:
    """A new folder here, after the agent's name."""
    slug = "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "agent"
    folders = (Path(slug if number == 1 else f"{slug}-{number}") for number in range(1, sys.maxsize))
    return next(folder for folder in folders if not folder.exists())


def _save(agent: Agent, picture: bytes, folder: Path) -> list[str]:
    """Write the agent's files; returns their names."""
    making = Making(
        prompt=agent.prompt,
        seed=agent.seed,
        steps=agent.steps,
        engines=agent.engines,
        version=version("hatchery"),
        created_at_ms=int(time.time() * 1000),
        writer=agent.writer,
        painter=agent.painter,
    )
    files = {
        "agent.json": _pretty(msgspec.json.encode(agent)),
        AVATAR: picture,
        "card.json": _pretty(to_card(agent.persona, making)),
        "card.png": card_png(picture, agent.persona, making),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return list(files)


def _pretty(json: bytes) -> bytes:
    return msgspec.json.format(json, indent=2) + b"\n"


def _epitaph(end: End, last_state: str) -> str:
    receipt = end.receipt
    if end.outcome == "failed":
        assert end.error is not None
        return f"{end.error.code}: {end.error.message}"
    steps = f" at step {receipt.steps_done} of {receipt.steps}" if receipt.steps_done else ""
    fates = {
        "none": "no painter had been started",
        "exited": f"the painter's process is gone (exit code {receipt.exit_code})",
        "idle": "the painter has dropped the job and is idle",
        "stuck": "the painter's process could not be ended",
    }
    writer = "the writer's connection is closed, " if receipt.llm == "closed" else ""
    latency = f"{receipt.cancel_latency_ms} ms after the request"
    return f"cancelled while {last_state}{steps}; {latency}, {writer}{fates[receipt.worker]}"
