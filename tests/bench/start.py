"""How soon the command line answers and a gateway listens, and how much of that is imports; the best of a few runs."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.figure import Figure, show

RUNS: Final = 5
READY_S, HELP_CPU_S = 1.2, 0.4  # bars
HATCHERY: Final = Path(sys.executable).with_name("hatchery")
IMPORTS: Final = {
    "import gateway.serve": [sys.executable, "-c", "import gateway.serve"],
    "import gateway.cli": [sys.executable, "-c", "import gateway.cli"],
    "python, nothing imported": [sys.executable, "-c", ""],
}


def run() -> list[Figure]:
    """The least of some runs: what else runs on a machine only ever adds."""
    ready = [_ready_s() for _ in range(RUNS)]
    figures = [
        Figure("`hatchery serve`, from command to ready", min(s for s, _ in ready), "s", READY_S),
        Figure("`hatchery serve`, CPU of that", min(cpu for _, cpu in ready), "s"),
        Figure("`hatchery --help`, CPU", _cpu_s([str(HATCHERY), "--help"]), "s", HELP_CPU_S),
        *(Figure(f"{what}, CPU", _cpu_s(command), "s") for what, command in IMPORTS.items()),
    ]
    show(f"start: the best of {RUNS} runs", figures)
    return figures


def _ready_s() -> tuple[float, float]:
    """Seconds until the gateway says where it listens, and its CPU seconds until then and its end."""
    before = _children_cpu_s()
    with tempfile.TemporaryDirectory() as data:
        command = [str(HATCHERY), "serve", "--port", "0", "--data", data, "--llm", "demo", "--image", "demo"]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("the gateway did not start")
            ready_s = time.monotonic() - began
            process.terminate()
    return ready_s, _children_cpu_s() - before


def _cpu_s(command: list[str]) -> float:
    def once() -> float:
        before = _children_cpu_s()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "80"})
        return _children_cpu_s() - before

    return min(once() for _ in range(RUNS))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
