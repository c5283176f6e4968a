"""From settings to engines; `auto` takes what this machine has, falls back to the demo engines, and says so."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import structlog

from actors.artifacts import ArtifactStore
from actors.llm.backend import LlmBackend
from actors.llm.demo import DemoWriter
from actors.llm.detect import LOCAL_PORTS, detect_llm, resolve_model
from actors.llm.openai import OpenAiBackend
from actors.llm.sim import SimWriter, WriterScript
from actors.mflux.detect import detect_mflux, find_command
from actors.mflux.engine import ImageEngine
from actors.mflux.oneshot import OneShotEngine, Program, demo_program
from actors.mflux.sim import SimImage, SimImageEngine
from gateway.config import Config, ConfigError, LlmConfig

log = structlog.get_logger(__name__)


async def choose_llm(config: Config, ports: tuple[int, ...] = LOCAL_PORTS) -> LlmBackend:
    """The writer that `llm.engine` names: auto, demo, sim, or the URL of an OpenAI-compatible server.

    `auto` asks at `ports` of this machine. Raises ConfigError for anything else.
    """
    llm, sim = config.llm, config.sim
    match llm.engine:
        case "demo":
            return DemoWriter()
        case "sim":
            script = WriterScript(tokens_per_s=sim.tokens_per_s, jitter=sim.jitter)
            return SimWriter(script, sim.seed)
        case "auto":
            found = await detect_llm(ports)
            if found is None:
                log.warning(
                    "llm_demo", reason="no LLM server answers on the usual local ports: set llm.engine to a URL"
                )
                return DemoWriter()
            log.info("llm_found", url=found.base_url, model=found.model)
            return await _openai(found.base_url, llm.model or found.model, llm)
        case url if url.startswith(("http://", "https://")):
            return await _openai(url, llm.model, llm)
        case other:
            raise ConfigError(f"llm.engine: auto, demo, sim or a URL such as http://127.0.0.1:8080/v1, not {other!r}")


async def _openai(url: str, model: str, llm: LlmConfig) -> LlmBackend:
    try:
        model = model or await resolve_model(url, llm.api_key) or "default"
        return OpenAiBackend(url, model, llm.api_key, max_tokens=llm.max_tokens)
    except ValueError as error:
        raise ConfigError(f"llm: {error}") from error


def choose_image(config: Config, artifacts: ArtifactStore, environ: Mapping[str, str]) -> ImageEngine:
    """The painter that `image.engine` names: auto, demo, sim, or a command that takes mflux's flags.

    Raises ConfigError for anything else.
    """
    sim, engine = config.sim, config.image.engine
    if engine == "sim":
        script = SimImage(steps=sim.steps, step_s=sim.step_s, jitter=sim.jitter, failures=sim.failures, seed=sim.seed)
        return SimImageEngine(script, artifacts)
    program = _auto_program(environ) if engine == "auto" else _program(engine, environ)
    return OneShotEngine(program, artifacts=artifacts, jobs=config.data / "jobs", environ=environ)


def _auto_program(environ: Mapping[str, str]) -> Program:
    """Never a command that would begin by downloading tens of gigabytes."""
    found = detect_mflux(environ)
    if found.command is not None:
        log.info("image_found", command=found.command)
        return _program(found.command, environ)
    if found.installed:
        reason = "mflux is installed, but no model is downloaded: name a command in image.engine to download its model"
    else:
        reason = "no mflux command is on the path: install mflux, or name a command in image.engine"
    log.warning("image_demo", reason=reason)
    return demo_program()


def _program(engine: str, environ: Mapping[str, str]) -> Program:
    if engine == "demo":
        return demo_program()
    try:
        command, *arguments = shlex.split(engine)
    except ValueError as error:
        reason = str(error).lower() if engine.strip() else "nothing in it"
        raise ConfigError(f"image.engine: auto, demo, sim or a command line; this one has {reason}") from error
    path = find_command(command, environ)
    if path is None:
        raise ConfigError(f"image.engine: there is no command {command!r}; auto, demo and sim need none")
    return Program(name=Path(command).name, argv=(path, *arguments))
