"""`hatchery engines`: what can be configured on this machine, each with the value to paste."""

import shlex
from collections.abc import Mapping
from typing import Literal

import msgspec

from actors.llm.detect import LOCAL_PORTS
from gateway.doctor.checks.image import MfluxCommand, mflux_commands
from gateway.doctor.checks.llm import engine_value, find_servers

State = Literal["ready", "to download", "not installed", "example"]


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One value of `option`; `about` says what it is."""

    option: Literal["--llm", "--image"]
    value: str
    state: State
    about: str

    @property
    def flag(self) -> str:
        """What to paste behind `hatchery serve` or `hatchery hatch`, quoted for a shell."""
        return f"{self.option} {shlex.quote(self.value)}"


async def list_choices(environ: Mapping[str, str], ports: tuple[int, ...] = LOCAL_PORTS) -> list[Choice]:
    """For the writer, then for the painter; what runs or lies here stands with what could."""
    return [*await _writers(ports), *_painters(mflux_commands(environ))]


async def _writers(ports: tuple[int, ...]) -> list[Choice]:
    servers = await find_servers(ports)
    taken = engine_value(servers[0]) if servers else "demo"
    return [
        Choice("--llm", "auto", "ready", f"now takes {taken}"),
        *(Choice("--llm", engine_value(server), "ready", f"answers, model {server.model}") for server in servers),
        Choice("--llm", "demo", "ready", "a built-in toy that composes from the prompt"),
        Choice("--llm", "sim", "ready", "scripted from a seed, for load tests"),
        Choice("--llm", "tape:FILE", "example", "plays what hatchery tape has recorded"),
        Choice(
            "--llm", "https://api.openai.com/v1", "example", "any OpenAI-compatible server, with HATCHERY_LLM_API_KEY"
        ),
        Choice(
            "--llm",
            "anthropic:https://api.anthropic.com",
            "example",
            "with HATCHERY_LLM_MODEL and HATCHERY_LLM_API_KEY",
        ),
        Choice("--llm", "mlx_lm.server --model NAME", "example", "a server that the gateway runs"),
    ]


def _painters(commands: list[MfluxCommand]) -> list[Choice]:
    taken = next((command.line for command in commands if command.path and command.downloaded), "demo")
    return [
        Choice("--image", "auto", "ready", f"now takes {taken}"),
        *(Choice("--image", command.line, _state(command), command.repository) for command in commands),
        Choice("--image", "demo", "ready", "a built-in renderer with mflux's flags"),
        Choice("--image", "sim", "ready", "scripted from a seed, draws nothing real"),
        Choice("--image", "tape:FILE", "example", "shows what hatchery tape has recorded"),
        Choice("--image", "mflux-generate-flux2 --quantize 4", "example", "any command line that takes mflux's flags"),
    ]


def _state(command: MfluxCommand) -> State:
    if command.path is None:
        return "not installed"
    return "ready" if command.downloaded else "to download"
