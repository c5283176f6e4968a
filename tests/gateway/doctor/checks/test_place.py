"""Real directories, a real lock, a real port."""

import os
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from actors.sweep import LOCK_NAME, open_data_lock
from gateway.config import Config
from gateway.doctor.checks.place import GIB, check_data, check_place, check_port, check_space, find_holder
from gateway.doctor.finding import Finding
from gateway.layers import load_config


def settings(data: Path, port: int = 0) -> Config:
    return load_config(flags={"server.data": str(data), "server.port": port})


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


async def test_a_place_that_is_fine_and_stays_as_it_was(tmp_path: Path) -> None:
    findings = await check_place(settings(tmp_path / "new" / "data"))
    assert {finding.status for finding in findings} <= {"ok", "notice"}
    assert by_subject(findings)["data"].found.endswith(f"will be made in {tmp_path}")
    assert os.listdir(tmp_path) == []


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_data(tmp_path).status == "ok"
    assert check_data(Path("/proc/self/data")).status == "problem"


@pytest.mark.parametrize(("free", "status"), [(GIB // 100, "problem"), (GIB // 2, "notice"), (2 * GIB, "ok")])
def test_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free))
    assert check_space(tmp_path).status == status


async def test_who_holds_the_directory(tmp_path: Path) -> None:
    assert find_holder(tmp_path) is None
    async with open_data_lock(tmp_path):
        pid = int((tmp_path / LOCK_NAME).read_text())
        assert find_holder(tmp_path) == f"the gateway with process id {pid}"
        gateway = by_subject(await check_place(settings(tmp_path)))["gateway"]
        assert gateway.status == "notice"
        assert str(pid) in gateway.found
    assert find_holder(tmp_path) is None
    with trio.fail_after(1.0):
        async with open_data_lock(tmp_path):
            pass  # looking has not kept it


async def test_a_taken_port_is_a_problem_unless_a_gateway_explains_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = settings(tmp_path, taken.getsockname()[1])
        finding = await check_port(config, None)
        assert (finding.status, finding.remedy) == ("problem", "--port 0 picks a free one")
        assert (await check_port(config, "a gateway")).status == "notice"
    assert (await check_port(config, None)).status == "ok"


async def test_an_address_of_another_machine_is_a_problem() -> None:
    config = load_config(flags={"server.host": "192.0.2.1", "server.port": 0})
    assert (await check_port(config, "a gateway")).status == "problem"
