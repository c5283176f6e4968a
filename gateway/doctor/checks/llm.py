"""Who could write here: the servers that answer, and whether the configured one does."""

from collections.abc import Iterable, Mapping
from typing import Final

import trio

from actors.llm.anthropic import ANTHROPIC
from actors.llm.detect import LOCAL_PORTS, DetectedLlm, detect_llm, resolve_model
from actors.llm.dialect import Dialect, LlmAddress, LlmCommand, parse_llm
from actors.llm.endpoint import OPENAI, Api, Endpoint
from actors.llm.ollama import OLLAMA
from actors.mflux.detect import find_command
from gateway.config import LlmConfig
from gateway.doctor.checks.tape import check_tape
from gateway.doctor.finding import Finding, notice, ok, problem
from gateway.tape import is_tape
from protocol.errors import LlmUnavailable

ANSWER_S: Final = 5.0
START_ONE: Final = "start a server, such as mlx_lm.server --model NAME, or name one: --llm URL"
SCHEMA: Final = "whether it keeps to the schema shows in a hatch"
_LISTINGS: Final[dict[Dialect, tuple[Api, str]]] = {
    "openai": (OPENAI, "models"),
    "ollama": (OLLAMA, "api/tags"),
    "anthropic": (ANTHROPIC, "v1/models"),
}


async def find_servers(ports: Iterable[int] = LOCAL_PORTS) -> list[DetectedLlm]:
    """Every server that answers on the usual ports of this machine, in order of preference."""
    found: dict[int, DetectedLlm] = {}

    async def look(port: int) -> None:
        if (server := await detect_llm((port,))) is not None:
            found[port] = server

    async with trio.open_nursery() as nursery:
        for port in ports:
            nursery.start_soon(look, port)
    return [found[port] for port in ports if port in found]


def engine_value(server: DetectedLlm) -> str:
    """What to set `llm.engine` to for this server."""
    return server.base_url if server.dialect == "openai" else f"{server.dialect}:{server.base_url}"


async def check_llm(
    config: LlmConfig, environ: Mapping[str, str], ports: tuple[int, ...] = LOCAL_PORTS
) -> list[Finding]:
    """The servers that run here, and the one that the settings choose."""
    servers = await find_servers(ports)
    listed = [f"{engine_value(server)} with {server.model}" for server in servers]
    where = ", ".join(map(str, ports))
    running = ok("LLM servers", "; ".join(listed) if listed else f"none answers on the ports {where}")
    return [running, await _check_engine(config, environ, servers)]


async def _check_engine(config: LlmConfig, environ: Mapping[str, str], servers: list[DetectedLlm]) -> Finding:
    match config.engine:
        case "demo" | "sim" as engine:
            return ok("writer", f"{engine}, which is built in")
        case tape if is_tape(tape):
            return check_tape("writer", tape)
        case "auto" if servers:
            return ok("writer", f"auto takes {engine_value(servers[0])}; {SCHEMA}")
        case "auto":
            return notice("writer", "auto falls back to the demo writer", START_ONE)
    try:
        match parse_llm(config.engine):
            case LlmCommand(argv=argv):
                return _check_command(argv[0], environ)
            case LlmAddress() as address:
                return await _check_address(address, config)
    except ValueError as error:
        return problem("writer", f"llm.engine or llm.api_key cannot be: {error}", "--llm auto")


def _check_command(command: str, environ: Mapping[str, str]) -> Finding:
    path = find_command(command, environ)
    if path is None:
        return problem("writer", f"there is no command {command!r}", "install it, or name another: --llm auto")
    return ok("writer", f"{path}, which the gateway will run")


async def _check_address(address: LlmAddress, config: LlmConfig) -> Finding:
    """Ask for the list of models, which costs nothing."""
    api, path = _LISTINGS[address.dialect]
    endpoint = Endpoint(address.url, config.api_key, api=api)
    status = None
    try:
        with trio.move_on_after(ANSWER_S):
            async with endpoint.exchange("GET", path) as reply:
                status = reply.status
    except LlmUnavailable:
        pass
    match status:
        case 200:
            return await _describe(endpoint, address, config)
        case 401 | 403:
            return problem("writer", f"{endpoint} refuses the key (HTTP {status})", "set HATCHERY_LLM_API_KEY")
        case None:
            return problem("writer", f"no answer from {endpoint}", "start that server, or take what runs: --llm auto")
        case _:
            remedy = f"see that it is the base URL of {api.title}, like {api.example}"
            return notice("writer", f"{endpoint} does not list its models (HTTP {status})", remedy)


async def _describe(endpoint: Endpoint, address: LlmAddress, config: LlmConfig) -> Finding:
    if not config.model and address.dialect == "anthropic":
        return problem("writer", f"{endpoint} answers, but no model is chosen", "HATCHERY_LLM_MODEL=NAME")
    model = config.model or await resolve_model(address.url, config.api_key)
    if model is None:
        return notice("writer", f"{endpoint} answers, but offers no model", "HATCHERY_LLM_MODEL=NAME")
    return ok("writer", f"{endpoint} answers, model {model}; {SCHEMA}")
