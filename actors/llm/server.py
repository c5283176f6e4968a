"""An LLM server that the gateway runs itself: started, watched, restarted when it dies, and gone when the block ends.

It runs on a terminal of its own, not on pipes: the kernel hangs up on it when the gateway is killed, so that no orphan
keeps a model in memory; and stopping, leftovers and reaping are those of every other child.
"""

import os
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM
from typing import Final

import msgspec
import structlog
import trio

from actors.llm.backend import Chunk, Finished, LlmBackend, LlmRequest, Waiting
from actors.llm.detect import resolve_model
from actors.llm.endpoint import Endpoint
from actors.llm.maker import MLX_DEFAULT_MODEL
from actors.llm.openai import OpenAiBackend
from actors.pty import ExitStatus, Keeper, Ladder, PtyChild, PtySpec, Rung, open_pty
from protocol.errors import ImageUnavailable, LlmFailed, LlmUnavailable
from protocol.maker import Maker, model_name
from protocol.restart import RestartPolicy, RestartWindow
from protocol.terminal import TerminalReader

log = structlog.get_logger(__name__)

MakeBackend = Callable[[str, str], LlmBackend]
"""From a base URL and a model."""

TAIL_LINES: Final = 40
COLUMNS: Final = 200
PROBE_EVERY_S: Final = 0.2
PROBE_TIMEOUT_S: Final = 2.0
DEATH_S: Final = 1.0  # from a broken answer to the news that its server has ended
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on a server's life; it is restarted as `restarts` allows.

    `start_s`: seconds from the start to the first sign of health, a download included. `stop_s`: seconds that SIGTERM,
    and after it SIGKILL, may take to end it.
    """

    start_s: float = 900.0
    stop_s: float = 4.0
    restarts: RestartPolicy = RestartPolicy(intensity=5, period_s=300.0, backoff_s=0.5, backoff_max_s=15.0)


class LlmServer:
    """A managed server as a backend: while it starts, requests wait for it, and say so."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        model: str,
        make: MakeBackend,
        keeper: Keeper | None,
        limits: ServerLimits,
        random: Random,
    ) -> None:
        self.name = Path(command[0]).name
        self.pid: int | None = None
        self._command = tuple(command)
        Endpoint(with_port(self._command)[1])  # raises ValueError
        self._env = {name: value for name, value in environ.items() if not name.startswith("HATCHERY_")}
        self._model = model
        self._make = make
        self._keeper = keeper
        self._limits = limits
        self._ladder: Ladder = (Rung(SIGTERM, limits.stop_s), Rung(SIGKILL, limits.stop_s))
        self._employment = trio.CancelScope()
        self._window = RestartWindow(limits.restarts, random)
        self._backend: LlmBackend | None = None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.changed = trio.lowlevel.ParkingLot()  # unparked whenever there is something new to know of it
        self._given_up = False

    @property
    def maker(self) -> Maker:
        """See LlmBackend: the model that was named, or else the one that it offers while it runs."""
        named = self._model or _option(self._command, "--model") or _option(self._command, "-m")
        if named:
            return Maker(engine=self.name, model=model_name(named))
        return Maker(engine=self.name, model=None if self._backend is None else self._backend.maker.model)

    @property
    def tail(self) -> str:
        """The last lines of both of its outputs."""
        return "\n".join(self._lines)

    @asynccontextmanager
    async def open_stream(self, request: LlmRequest) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """See LlmBackend; raises LlmUnavailable also when it ends in mid-answer, or is not started any more."""
        async with AsyncExitStack() as stack:

            async def answer() -> AsyncGenerator[Chunk, None]:
                backend = self._backend
                if backend is None:
                    if not self._given_up:
                        yield Waiting(self.obstacle)
                    backend = await self.wait_ready()
                    yield Waiting(None)
                finished = False
                try:
                    async for chunk in await stack.enter_async_context(backend.open_stream(request)):
                        finished = isinstance(chunk, Finished)
                        yield chunk
                except LlmFailed:
                    await self._check_alive(backend)
                    raise
                if not finished:
                    await self._check_alive(backend)

            yield await stack.enter_async_context(aclosing(answer()))

    async def _check_alive(self, backend: LlmBackend) -> None:
        """Raise LlmUnavailable if the server behind `backend` has ended: the next one may be asked again."""
        with trio.move_on_after(DEATH_S):
            while self._backend is backend:
                await self.changed.park()
        if self._backend is not backend:
            raise LlmUnavailable(f"{self.name} ended in mid-answer: see the gateway's log.")

    async def wait_ready(self) -> LlmBackend:
        """Return the backend to ask when it answers. Raises LlmUnavailable when it is not started any more."""
        while self._backend is None:
            if self._given_up:
                raise LlmUnavailable(str(self.obstacle), retryable=False)
            await self.changed.park()
        return self._backend

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be asked now, None if it can."""
        if self._backend is not None:
            return None
        if self._given_up:
            return f"{self.name} keeps ending: see the gateway's log, correct llm.engine, and restart the gateway."
        return f"{self.name} is starting"

    def hurry(self) -> None:
        """The gateway stops: end it now, while the rest is stopped, since nobody is going to ask it any more."""
        self._employment.cancel()

    async def supervise(self) -> None:
        """Run it again and again, until it has failed too often or is no longer needed."""
        with self._employment:
            while True:
                reason = await self._run()
                delay_s = self._window.next_delay(trio.current_time())
                log.error("llm_server_ended", server=self.name, reason=reason, restart_in_s=delay_s, output=self.tail)
                if delay_s is None:
                    self._given_up = True
                    self.changed.unpark_all()
                    return
                await trio.sleep(delay_s)

    async def _run(self) -> str:
        """Run it once, and say why it ended."""
        argv, address = with_port(self._command)
        spec = PtySpec(argv, os.getcwd(), self._env, columns=COLUMNS)
        self._lines.clear()
        try:
            async with open_pty(spec, ladder=self._ladder, keeper=self._keeper) as child:
                self.pid = child.pid
                self.changed.unpark_all()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_start, child, address)
                    await self._drain(child)
                    status = await child.wait()
                    nursery.cancel_scope.cancel()
                return _how(status)
        except ImageUnavailable as error:  # any program on a terminal
            return error.message
        finally:
            self.pid = self._backend = None
            self.changed.unpark_all()

    async def _drain(self, child: PtyChild) -> None:
        """Read all that it prints: a full terminal would stop it."""
        reader = TerminalReader()
        while data := await child.receive():
            self._lines += [segment.text for segment in reader.feed(data) if segment.ended == "line"]
            self.changed.unpark_all()

    async def _watch_start(self, child: PtyChild, url: str) -> None:
        began = trio.current_time()
        with trio.move_on_after(self._limits.start_s):
            await _until_healthy(url)
            model = self._model or await resolve_model(url) or MLX_DEFAULT_MODEL
            took_s = trio.current_time() - began
            log.info("llm_server_ready", server=self.name, url=url, model=model, seconds=round(took_s, 1))
            self._backend = self._make(url, model)
            self.changed.unpark_all()
            return
        log.error("llm_server_not_ready", server=self.name, within_s=self._limits.start_s)
        await child.stop(self._ladder)


@asynccontextmanager
async def open_llm_server(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    model: str = "",
    make: MakeBackend = OpenAiBackend,
    keeper: Keeper | None = None,
    limits: ServerLimits = ServerLimits(),  # noqa: B008 - frozen
    random: Random | None = None,
) -> AsyncIterator[LlmServer]:
    """Run an OpenAI-compatible server such as `mlx_lm.server --model NAME`; however the block is left, it is gone.

    It listens where its `--host` and `--port` say, or else on a free loopback port that is appended. `model` is what to
    ask it for, or else what it offers; `make` gives the backend that asks. The block begins at once: `wait_ready` tells
    when it answers.
    Raises ValueError for a host or port that cannot be.
    """
    server = LlmServer(
        command, environ, model=model, make=make, keeper=keeper, limits=limits, random=random or Random()
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.supervise)
        yield server
        nursery.cancel_scope.cancel()


def with_port(command: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The command with a port, a free one if it names none, and the base URL that it will answer at."""
    host = _option(command, "--host") or "127.0.0.1"
    host = _ANY_HOST.get(host, host)
    port = _option(command, "--port")
    if port is None:
        port = str(_free_port())
        command = (*command, "--port", port)
    return command, f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _option(command: tuple[str, ...], name: str) -> str | None:
    for i, word in enumerate(command):
        if word == name:
            return command[i + 1] if i + 1 < len(command) else None
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_healthy(url: str) -> None:
    while True:
        if await _is_healthy(url):
            return
        await trio.sleep(PROBE_EVERY_S)


async def _is_healthy(url: str) -> bool:
    """Whether it says so; one without `/health` is healthy when it lists its models.

    llama-server lists its models while it still loads them, and mlx_lm.server fails to without a download cache.
    """
    status = 0
    with trio.move_on_after(PROBE_TIMEOUT_S):
        try:
            async with Endpoint(url).exchange("GET", "../health") as reply:
                status = reply.status
        except LlmUnavailable:
            return False
    return status == 200 or (status == 404 and await resolve_model(url, timeout_s=PROBE_TIMEOUT_S) is not None)


def _how(status: ExitStatus) -> str:
    return f"killed by signal {status.signal}" if status.code is None else f"exit code {status.code}"
