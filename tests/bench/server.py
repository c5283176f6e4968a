"""The benchmarks' side of a gateway in a process of its own, on the first core; who measures goes to the second."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

import msgspec

from gateway.config import AccessConfig, Config, HatchConfig, ImageConfig, LlmConfig, ServerConfig, SimConfig
from tests.bench import cost
from tests.bench.served import Report

SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1
ELSEWHERE: Final = f"taskset -c {CLIENT_CORE} "  # before an image command: its CPU is not the gateway's
HEARTBEAT_S: Final = 600.0  # longer than any run: the clients do not answer
MANY: Final = 100_000
STOP_S: Final = 30.0
PLAIN: Final = SimConfig()


class Server:
    """A gateway that runs, and what it costs."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.pid = process.pid
        self.port = port
        self._process = process

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU time so far."""
        return cost.cpu_s(self.pid)

    @property
    def resident_bytes(self) -> int:
        """Its memory now."""
        return cost.resident_bytes(self.pid)

    def report(self) -> Report:
        """How late its loop was since the last report."""
        go, said = self._process.stdin, self._process.stdout
        assert go is not None
        assert said is not None
        go.write(b"\n")
        go.flush()
        return msgspec.json.decode(said.readline(), type=Report)


def config(
    data: str,
    *,
    image: str = "sim",
    image_slots: int = 1,
    llm_slots: int = 2,
    sim: SimConfig = PLAIN,
) -> Config:
    """Settings for many hatches of one client: simulated writers, and whatever painter."""
    return Config(
        server=ServerConfig(port=0, data=data, drain_s=0, heartbeat_s=HEARTBEAT_S),
        access=AccessConfig(messages_burst=MANY),
        llm=LlmConfig(engine="sim", slots=llm_slots),
        image=ImageConfig(engine=image, slots=image_slots),
        hatch=HatchConfig(running=MANY, queued=MANY),
        sim=sim,
    )


@contextmanager
def open_server(settings: Config) -> Iterator[Server]:
    """A gateway with these settings, killed in the end; this process moves to the other core."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    command = [sys.executable, "-m", "tests.bench.served", msgspec.json.encode(settings).decode()]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            yield Server(process, _port(process.stdout, log))
        finally:
            process.terminate()
            _wait(process)


def _port(said: IO[bytes] | None, log: IO[bytes]) -> int:
    assert said is not None
    found = re.search(rb"http://[^ ]*:(\d+) ", said.readline())
    if found is None:
        log.seek(0)
        raise RuntimeError(f"the gateway did not start:\n{log.read().decode(errors='replace')}")
    return int(found[1])


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
