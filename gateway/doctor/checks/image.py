"""Who could draw here: mflux's commands, its version, its models, and whether the configured command exists."""

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

import msgspec

from actors.mflux.detect import COMMANDS, find_command, is_downloaded
from actors.mflux.oneshot import Program
from actors.mflux.warm.program import warm_program
from actors.versions import version_beside
from gateway.config import Config, ConfigError
from gateway.doctor.checks.tape import check_tape
from gateway.doctor.finding import Finding, notice, ok, problem
from gateway.painters import program_of
from gateway.tape import is_tape

KNOWN_VERSION: Final = "0.24"
INSTALL: Final = (
    "uv tool install 'mflux>=0.24,<0.25'" if sys.platform == "darwin" else "uv run --no-dev --extra mflux hatchery …"
)


class MfluxCommand(msgspec.Struct, frozen=True):
    """One of mflux's command lines: the repository of its model, where the command lies if it is installed."""

    line: str
    repository: str
    path: str | None
    downloaded: bool


def mflux_commands(environ: Mapping[str, str]) -> list[MfluxCommand]:
    """Those that `auto` knows, in its order of preference; looks at files only."""
    return [
        MfluxCommand(line, repository, find_command(line.split()[0], environ), is_downloaded(repository, environ))
        for line, repository in COMMANDS
    ]


def configured_program(engine: str, environ: Mapping[str, str]) -> Program | None:
    """What `image.engine` would run, or None for sim and tapes, which run nothing. Raises ConfigError."""
    if engine == "sim" or is_tape(engine):
        return None
    if engine == "auto":
        ready = (command.line for command in mflux_commands(environ) if command.path and command.downloaded)
        engine = next(ready, "demo")
    return program_of(engine, environ)


def check_image(config: Config, environ: Mapping[str, str]) -> list[Finding]:
    """What is installed, what is downloaded, what the settings choose."""
    commands = mflux_commands(environ)
    installed = [command for command in commands if command.path]
    engine = config.image.engine
    findings = [_check_version(installed, wanted=engine == "auto")]
    if installed:
        findings.append(_check_models(installed, wanted=engine == "auto"))
    if is_tape(engine):
        return [*findings, check_tape("painter", engine)]
    try:
        program = configured_program(engine, environ)
    except ConfigError as error:
        remedy = "--image auto, or a command that hatchery engines lists"
        return [*findings, problem("painter", str(error), remedy)]
    findings.append(_check_engine(engine, program))
    if program is not None and program.name.startswith("mflux-"):
        findings.append(_check_worker(program, wanted=config.image.warm, here=find_spec("mflux") is not None))
    return findings


def _check_version(installed: list[MfluxCommand], *, wanted: bool) -> Finding:
    if not installed:
        found = "no command of it is on the path"
        return notice("mflux", found, INSTALL) if wanted else ok("mflux", found)
    path = str(installed[0].path)
    version = version_beside(path, "mflux") or "of unknown version"
    found = f"{version}, {len(installed)} of {len(COMMANDS)} known commands, in {os.path.dirname(path)}"
    if not version.startswith(f"{KNOWN_VERSION}."):
        return notice("mflux", f"{found}; Hatchery knows {KNOWN_VERSION}", INSTALL)
    return ok("mflux", found)


def _check_models(installed: list[MfluxCommand], *, wanted: bool) -> Finding:
    downloaded = [command.repository for command in installed if command.downloaded]
    if downloaded:
        return ok("models", f"downloaded: {', '.join(downloaded)}")
    found = "none of the default models is in the download cache"
    if not wanted:
        return ok("models", found)
    return notice("models", found, f"{installed[0].line} --prompt 'an owl' downloads its model of tens of gigabytes")


def _check_engine(engine: str, program: Program | None) -> Finding:
    if program is None:
        return ok("painter", "sim, which draws nothing real")
    if engine == "auto" and program.name == "demo":
        return notice("painter", "auto falls back to the demo renderer", "hatchery engines lists what else there is")
    return ok("painter", f"{'auto takes ' if engine == 'auto' else ''}{program.name} ({program.argv[0]})")


def _check_worker(program: Program, *, wanted: bool, here: bool) -> Finding:
    """Whether the model stays loaded between pictures; `here`: mflux is installed in Hatchery's own environment."""
    each = "each picture starts a process that loads the model anew"
    if not wanted:
        return ok("worker", f"image.warm is off: {each}")
    if not here:
        return notice(
            "worker", f"mflux is not in Hatchery's environment: {each}", f"install it beside {sys.executable}"
        )
    if warm_program(program.argv) is None:
        found = f"a worker cannot be told all of {shlex.join((program.name, *program.argv[1:]))!r}: {each}"
        return notice("worker", found, "leave flags out that are no matter of model, size, steps, guidance or LoRA")
    return ok("worker", "keeps the model loaded between pictures")
