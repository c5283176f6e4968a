"""From settings to the writer; `auto` takes the LLM server that this machine runs, or the demo writer, and says so."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio

from actors.llm.anthropic import AnthropicBackend
from actors.llm.backend import LlmBackend
from actors.llm.demo import DemoWriter
from actors.llm.detect import LOCAL_PORTS, detect_llm, resolve_model
from actors.llm.dialect import ALLOWED, LlmAddress, LlmCommand, parse_llm
from actors.llm.maker import UNKNOWN_MODEL
from actors.llm.ollama import OllamaBackend
from actors.llm.openai import OpenAiBackend
from actors.llm.server import ServerLimits, open_llm_server
from actors.llm.sim import SimWriter, WriterScript
from actors.llm.tape import TapeWriter
from actors.mflux.detect import find_command
from actors.pty import Keeper
from gateway.config import Config, ConfigError, LlmConfig, SimConfig
from gateway.tape import is_tape, load_tape

STOP_SHARE: Final = 0.4  # of `server.stop_s`, for each of the two signals that end a server

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_writer(
    config: Config,
    environ: Mapping[str, str],
    keeper: Keeper | None = None,
    *,
    ports: tuple[int, ...] = LOCAL_PORTS,
    sleep: Callable[[float], Awaitable[None]] = trio.sleep,
) -> AsyncIterator[LlmBackend]:
    """The writer that `llm.engine` names; a command is run as a server of our own until the block ends.

    `auto` asks at `ports` of this machine; `sim` takes its time by `sleep`. Raises ConfigError.
    """
    llm = config.llm
    match llm.engine:
        case "demo":
            yield DemoWriter()
        case "sim":
            yield SimWriter(_script(config.sim), config.sim.seed, sleep)
        case tape if is_tape(tape):
            yield TapeWriter(await trio.to_thread.run_sync(load_tape, tape, "llm.engine"), config.tape.speed)
        case "auto":
            yield await _detected(llm, ports)
        case engine:
            match _parsed(engine):
                case LlmAddress() as address:
                    yield await _spoken_to(address, llm)
                case LlmCommand(argv):
                    async with open_llm_server(
                        _found(argv, environ),
                        environ,
                        model=llm.model,
                        make=_openai(llm),
                        keeper=keeper,
                        limits=ServerLimits(stop_s=min(ServerLimits().stop_s, STOP_SHARE * config.server.stop_s)),
                    ) as server:
                        yield server


def _script(sim: SimConfig) -> WriterScript:
    return WriterScript(
        tokens=sim.tokens,
        tokens_per_s=sim.tokens_per_s,
        tokens_per_piece=sim.tokens_per_piece,
        jitter=sim.jitter,
        unavailable=sim.unavailable,
        cut_off=sim.cut_off,
        invalid=sim.invalid,
        stalls=sim.stalls,
        stall_s=sim.stall_s,
        stamps=sim.stamps,
    )


async def _detected(llm: LlmConfig, ports: tuple[int, ...]) -> LlmBackend:
    found = await detect_llm(ports)
    if found is None:
        log.warning("llm_demo", reason="no LLM server answers on the usual local ports: set llm.engine")
        return DemoWriter()
    model = llm.model or found.model
    log.info("llm_found", url=found.base_url, dialect=found.dialect, model=model)
    return _made(LlmAddress(found.dialect, found.base_url), model, llm)


def _parsed(engine: str) -> LlmAddress | LlmCommand:
    try:
        return parse_llm(engine)
    except ValueError as error:
        raise ConfigError(f"llm.engine: auto, demo, sim or a server; {error}") from error


async def _spoken_to(address: LlmAddress, llm: LlmConfig) -> LlmBackend:
    if address.dialect == "anthropic" and not llm.model:
        raise ConfigError("llm.model: name the model to ask Anthropic for; it costs money, so none is chosen for you")
    try:
        model = llm.model or await resolve_model(address.url, llm.api_key) or UNKNOWN_MODEL
    except ValueError as error:
        raise ConfigError(f"llm: {error}") from error
    return _made(address, model, llm)


def _made(address: LlmAddress, model: str, llm: LlmConfig) -> LlmBackend:
    try:
        match address.dialect:
            case "openai":
                return _openai(llm)(address.url, model)
            case "ollama":
                return OllamaBackend(address.url, model, llm.api_key, think=_thinks(llm), max_tokens=llm.max_tokens)
            case "anthropic":
                return AnthropicBackend(address.url, model, llm.api_key, think=_thinks(llm), max_tokens=llm.max_tokens)
    except ValueError as error:
        raise ConfigError(f"llm: {error}") from error


def _openai(llm: LlmConfig) -> partial[OpenAiBackend]:
    return partial(OpenAiBackend, api_key=llm.api_key, think=_thinks(llm), max_tokens=llm.max_tokens)


def _thinks(llm: LlmConfig) -> bool | None:
    return None if llm.think == "auto" else llm.think == "on"


def _found(argv: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, ...]:
    path = find_command(argv[0], environ)
    if path is None:
        raise ConfigError(f"llm.engine: there is no command {argv[0]!r}; it may be auto, demo, sim, or {ALLOWED}")
    return (path, *argv[1:])
