"""From settings to the painter; `auto` takes an mflux model that is downloaded, or the demo renderer, and says so."""

import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import structlog

from actors.artifacts import ArtifactStore
from actors.mflux.detect import detect_mflux, find_command
from actors.mflux.engine import ImageEngine
from actors.mflux.oneshot import OneShotEngine, Program, demo_program
from actors.mflux.sim import SimImage, SimImageEngine
from actors.mflux.warm.engine import WarmSettings, open_warm_engine
from actors.mflux.warm.program import warm_program
from actors.pty import Keeper
from gateway.config import Config, ConfigError

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_painter(
    config: Config, artifacts: ArtifactStore, environ: Mapping[str, str], keeper: Keeper | None = None
) -> AsyncIterator[ImageEngine]:
    """The painter that `image.engine` names; its workers, if it keeps any, are gone when the block ends.

    Raises ConfigError.
    """
    image, sim, jobs = config.image, config.sim, config.data / "jobs"
    if image.engine == "sim":
        script = SimImage(steps=sim.steps, step_s=sim.step_s, jitter=sim.jitter, failures=sim.failures, seed=sim.seed)
        yield SimImageEngine(script, artifacts)
        return
    program = _auto_program(environ) if image.engine == "auto" else program_of(image.engine, environ)
    warm = warm_program(program.argv) if image.warm and find_spec("mflux") else None
    if warm is None:
        yield OneShotEngine(program, artifacts=artifacts, jobs=jobs, environ=environ, keeper=keeper)
        return
    settings = WarmSettings(
        patience_s=image.patience_s,
        idle_s=image.idle_s,
        jobs=image.jobs,
        memory_bytes=round(image.memory_gb * 1e9) or None,
    )
    async with open_warm_engine(
        warm, artifacts=artifacts, jobs=jobs, environ=environ, slots=image.slots, settings=settings, keeper=keeper
    ) as engine:
        yield engine


def _auto_program(environ: Mapping[str, str]) -> Program:
    """Never a command that would begin by downloading tens of gigabytes."""
    found = detect_mflux(environ)
    if found.command is not None:
        log.info("image_found", command=found.command)
        return program_of(found.command, environ)
    if found.installed:
        reason = "mflux is installed, but no model is downloaded: name a command in image.engine to download its model"
    else:
        reason = "no mflux command is on the path: install mflux, or name a command in image.engine"
    log.warning("image_demo", reason=reason)
    return demo_program()


def program_of(engine: str, environ: Mapping[str, str]) -> Program:
    """The program that `image.engine` names. Raises ConfigError."""
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
