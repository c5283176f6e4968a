"""`hatchery doctor`: looks at everything that a hatch needs, and says what to do about what is not well."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from actors.llm.detect import LOCAL_PORTS
from gateway.config import Config, ConfigError
from gateway.doctor.checks.capacity import check_capacity, kernel_limits
from gateway.doctor.checks.image import check_image, configured_program
from gateway.doctor.checks.llm import check_llm
from gateway.doctor.checks.machine import check_machine
from gateway.doctor.checks.place import check_place
from gateway.doctor.checks.terminal import check_terminal
from gateway.doctor.checks.variables import check_variables
from gateway.doctor.choices import list_choices
from gateway.doctor.finding import Finding, notice, problem
from gateway.doctor.probe import Sight, judge, probe
from gateway.doctor.report import open_report
from protocol.errors import ImageUnavailable


async def doctor(config: Config, environ: Mapping[str, str], ports: tuple[int, ...] = LOCAL_PORTS) -> list[Finding]:
    """All findings, grouped by what they are about; `ports` are where LLM servers are looked for. Changes nothing."""
    return [
        *check_machine(),
        *check_capacity(config, kernel_limits()),
        await check_terminal(),
        *await check_place(config),
        *await check_llm(config.llm, environ, ports),
        *check_image(config, environ),
        *check_variables(environ),
    ]


async def try_progress(config: Config, environ: Mapping[str, str]) -> tuple[Finding, tuple[Sight, ...]]:
    """Probe the configured image command: what each reader saw, and whether that is well."""
    try:
        program = configured_program(config.image.engine, environ)
        if program is None:
            return notice("probe", f"the engine {config.image.engine} runs no command", "--image demo"), ()
        pipes, terminal = await probe(program, environ, root=Path(tempfile.gettempdir()))
    except (ConfigError, ImageUnavailable, OSError) as error:
        return problem("probe", str(error), "--image auto, or a command that hatchery engines lists"), ()
    return judge(program, pipes, terminal), (*pipes.sights, *terminal.sights)


async def run_doctor(config: Config, *, probing: bool, as_json: bool) -> int:
    """`hatchery doctor`; the exit code is 1 if there is a problem."""
    report = open_report(sys.stdout, as_json=as_json)
    findings = await doctor(config, os.environ)
    report.findings(findings)
    if probing:
        with report.waiting("Drawing two steps over pipes, then two on a terminal"):
            finding, sights = await try_progress(config, os.environ)
        report.sights(sights)
        report.findings([finding])
        findings.append(finding)
    return int(any(finding.status == "problem" for finding in findings))


async def run_engines(*, as_json: bool) -> int:
    """`hatchery engines`."""
    open_report(sys.stdout, as_json=as_json).choices(await list_choices(os.environ))
    return 0
