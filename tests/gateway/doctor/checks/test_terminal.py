"""A real terminal, a real child."""

import resource

import pytest

from gateway.doctor.checks import terminal
from gateway.doctor.checks.terminal import check_terminal


async def test_a_child_runs_on_a_terminal() -> None:
    finding = await check_terminal()
    assert finding.status == "ok"
    assert " ms" in finding.found


async def test_a_child_that_fails_is_quoted() -> None:
    finding = await check_terminal(("sh", "-c", "echo no devpts; exit 3"))
    assert finding.status == "problem"
    assert "no devpts" in finding.found


async def test_a_child_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.3)
    assert (await check_terminal(("sh", "-c", "echo waiting; exec sleep 600"))).status == "problem"


async def test_no_terminal_to_be_had() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        finding = await check_terminal()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert finding.status == "problem"
    assert finding.remedy
