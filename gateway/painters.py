"""From settings to the painter; `auto` takes an mflux model that is downloaded, or the demo renderer, and says so."""

import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
import trio
from msgspec.structs import replace

from actors.artifacts import ArtifactStore
from actors.llm.dialect import LlmAddress, parse_llm
from actors.mflux.capabilities import open_capabilities
from actors.mflux.detect import detect_mflux, find_command
from actors.mflux.engine import ImageEngine
from actors.mflux.history import History, MemoryHistory, Pace
from actors.mflux.offer import NamedLora, NamedModel, Offer
from actors.mflux.oneshot import OneShotEngine, Program, child_environment, demo_program
from actors.mflux.previews import PreviewLimits, PreviewSettings
from actors.mflux.prewarm import may_prewarm, model_bytes
from actors.mflux.sim import SimImage, SimImageEngine
from actors.mflux.tape import TapePainter
from actors.mflux.warm.engine import WarmSettings, open_warm_engine
from actors.mflux.warm.models import command_model
from actors.mflux.warm.program import WarmProgram, warm_program
from actors.pty import Keeper
from actors.versions import version_beside
from gateway.config import Config, ConfigError, ImageConfig, SimConfig
from gateway.doctor.checks.machine import read_memory
from gateway.tape import is_tape, load_tape
from protocol.stall import StallLimits

MFLUX: Final = "mflux"  # what it says of its commands, in the data directory

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_painter(
    config: Config,
    artifacts: ArtifactStore,
    environ: Mapping[str, str],
    keeper: Keeper | None = None,
    *,
    history: History | None = None,
    writer: str = "",
    sleep: Callable[[float], Awaitable[None]] = trio.sleep,
) -> AsyncIterator[ImageEngine]:
    """The painter that `image.engine` names; its workers, if it keeps any, are gone when the block ends.

    `history` is what its ETAs are made of, `writer` the name of the engine that writes; `sim` takes its time by
    `sleep`. Raises ConfigError.
    """
    image, jobs = config.image, config.data / "jobs"
    if image.engine == "sim":
        yield SimImageEngine(_script(config.sim), artifacts, sleep, _named(image).choices(lambda _: True))
        return
    if is_tape(image.engine):
        tape = await trio.to_thread.run_sync(load_tape, image.engine, "image.engine")
        yield TapePainter(tape, config.tape.speed, artifacts)
        return
    program = _auto_program(environ) if image.engine == "auto" else program_of(image.engine, environ)
    warm = warm_program(program.argv) if image.warm and find_spec("mflux") else None
    pace, previews = Pace(history or MemoryHistory()), _previews(image)
    offer = await trio.to_thread.run_sync(offer_of, image)
    command = program.argv[0] if warm is None else str(Path(sys.executable).with_name(program.name))  # workers run here
    async with open_capabilities(
        command, environ=child_environment(environ), folder=config.data / MFLUX
    ) as capabilities:
        if warm is None:
            yield OneShotEngine(
                program,
                artifacts=artifacts,
                jobs=jobs,
                environ=environ,
                keeper=keeper,
                pace=pace,
                previews=previews,
                stalls=_stalls(image),
                offer=offer,
                capabilities=capabilities,
            )
            return
        elsewhere = writes_elsewhere(config.llm.engine, writer)
        async with open_warm_engine(
            warm,
            artifacts=artifacts,
            jobs=jobs,
            environ=environ,
            slots=image.slots,
            settings=_warm_settings(config),
            keeper=keeper,
            pace=pace,
            previews=previews,
            may_prewarm=partial(_may_prewarm, config, warm, environ, elsewhere),
            offer=offer,
            capabilities=capabilities,
        ) as engine:
            yield engine


def _script(sim: SimConfig) -> SimImage:
    return SimImage(
        steps=sim.steps,
        step_s=sim.step_s,
        jitter=sim.jitter,
        failures=sim.failures,
        crashes=sim.crashes,
        stalls=sim.stalls,
        stall_s=sim.stall_s,
        seed=sim.seed,
        stamps=sim.stamps,
    )


def _previews(image: ImageConfig) -> PreviewSettings | None:
    if not image.previews:
        return None
    limits = PreviewLimits(side=image.preview_side, bytes=image.preview_bytes)
    return PreviewSettings(limits=limits, limiter=trio.CapacityLimiter(image.slots))


def _warm_settings(config: Config) -> WarmSettings:
    image = config.image
    return WarmSettings(
        patience_s=config.cancel.patience_s,
        idle_s=image.idle_s,
        jobs=image.jobs,
        memory_bytes=round(image.memory_gb * 1e9) or None,
        stalls=_stalls(image),
    )


def _stalls(image: ImageConfig) -> StallLimits:
    return StallLimits(steps_s=image.stall_step_s, downloading_s=image.stall_download_s, silent_s=image.stall_silent_s)


def writes_elsewhere(engine: str, writer: str) -> bool:
    """Whether the writer that `llm.engine` names, and that is called so, takes none of this machine's memory."""
    if writer in ("demo", "sim", "tape"):
        return True
    try:
        named = parse_llm(engine)
    except ValueError:
        return False
    return isinstance(named, LlmAddress) and not _is_loopback(urlsplit(named.url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _may_prewarm(
    config: Config, warm: WarmProgram, environ: Mapping[str, str], elsewhere: bool, model: str | None
) -> bool:
    """Looked at anew each time, since memory comes and goes, and a model may have been downloaded."""

    def look() -> bool:
        return may_prewarm(
            config.image.prewarm,
            writes_elsewhere=elsewhere,
            available_bytes=read_memory().available,
            model_bytes=model_bytes(warm.warm.command, model, environ),
        )

    return await trio.to_thread.run_sync(look)


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
    name = Path(command).name
    version = version_beside(path, "mflux") if name.startswith("mflux-") else None
    argv = (path, *arguments)
    return Program(name=name, argv=argv, model=command_model(argv), version=version)


def offer_of(image: ImageConfig) -> Offer:
    """What `image.models` and `image.loras` let a hatch choose; image commands run elsewhere, so paths are absolute."""
    named = _named(image)
    return Offer(
        models={name: replace(model, path=_absolute(model.path)) for name, model in named.models.items()},
        loras={name: replace(lora, path=_absolute(lora.path)) for name, lora in named.loras.items()},
    )


def _named(image: ImageConfig) -> Offer:
    return Offer(
        models={name: NamedModel(path=said) if isinstance(said, str) else said for name, said in image.models.items()},
        loras={name: NamedLora(path=said) if isinstance(said, str) else said for name, said in image.loras.items()},
    )


def _absolute(place: str) -> str:
    """A local path that exists, in full; a name or a repository as it is."""
    local = Path(place).expanduser()
    return str(local.absolute()) if local.exists() else place
