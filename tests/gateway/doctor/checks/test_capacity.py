"""Limits of the kernel in image commands and clients; both ways to read them, whatever runs the tests."""

import resource
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from gateway.doctor.checks.capacity import (
    FILES_PER_CHILD,
    RESERVED_FILES,
    UNLIMITED,
    KernelLimits,
    check_capacity,
    kernel_limits,
    terminals_by_proc,
    terminals_by_sysctl,
)
from gateway.layers import load_config

PLENTY = KernelLimits(files=20_000, hard_files=20_000, terminals=4096, used=6)


def settings(**flags: int) -> Config:
    return load_config(flags={key.replace("__", "."): value for key, value in flags.items()})


def test_the_tighter_limit_counts() -> None:
    assert KernelLimits(files=1024, hard_files=1024, terminals=4096, used=6).children == 488
    assert KernelLimits(files=20_000, hard_files=20_000, terminals=511, used=11).children == 500
    assert KernelLimits(files=16, hard_files=16, terminals=511, used=11).children == 0
    assert KernelLimits(files=1024, hard_files=1024, terminals=5, used=6).children == 0


def test_enough_of_everything() -> None:
    assert [finding.status for finding in check_capacity(Config(), PLENTY)] == ["ok", "ok"]


def test_too_few_files_for_the_slots_name_the_limit_that_would_do() -> None:
    limits = msgspec.structs.replace(PLENTY, files=RESERVED_FILES + 4)
    children, _ = check_capacity(settings(image__slots=10), limits)
    assert children.status == "problem"
    assert "2 image commands fit" in children.found
    assert f"ulimit -n {RESERVED_FILES + 10 * FILES_PER_CHILD}" in children.remedy
    assert "HATCHERY_IMAGE_SLOTS=2" in children.remedy


@pytest.mark.parametrize(("system", "setting"), [("linux", "kernel.pty.max=16"), ("darwin", "kern.tty.ptmx_max=16")])
def test_too_few_terminals_name_the_kernels_setting(monkeypatch: pytest.MonkeyPatch, system: str, setting: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    children, _ = check_capacity(settings(image__slots=10), msgspec.structs.replace(PLENTY, terminals=8))
    assert children.status == "problem"
    assert f"sudo sysctl -w {setting}" in children.remedy


def test_fewer_files_than_connections_are_noticed() -> None:
    _, clients = check_capacity(Config(), msgspec.structs.replace(PLENTY, files=1024, hard_files=4096))
    assert clients.status == "notice"
    assert "the hard limit is 4096" in clients.remedy
    fit = int(clients.remedy.rpartition("HATCHERY_SERVER_MAX_CONNECTIONS=")[2])
    _, clients = check_capacity(settings(server__max_connections=fit), msgspec.structs.replace(PLENTY, files=1024))
    assert clients.status == "ok", "the remedy is one"


def test_as_linux_tells_it(tmp_path: Path) -> None:
    (tmp_path / "max").write_text("4096\n")
    (tmp_path / "nr").write_text("21\n")
    assert terminals_by_proc(tmp_path) == (4096, 21)
    assert terminals_by_proc(tmp_path / "missing") == (UNLIMITED, 0)


def test_as_macos_tells_it(tmp_path: Path) -> None:
    sysctl = tmp_path / "sysctl"
    sysctl.write_text('#!/bin/sh\ntest "$*" = "-n kern.tty.ptmx_max" && echo 511\n')
    sysctl.chmod(0o755)
    assert terminals_by_sysctl(str(sysctl)) == (511, 0)
    sysctl.write_text("#!/bin/sh\necho unknown\n")
    assert terminals_by_sysctl(str(sysctl)) == (UNLIMITED, 0)
    assert terminals_by_sysctl(str(tmp_path / "missing")) == (UNLIMITED, 0)


def test_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = kernel_limits()
    assert limits.files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limits.terminals > limits.used
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert kernel_limits().files == UNLIMITED
