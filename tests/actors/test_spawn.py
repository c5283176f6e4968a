"""Starting a child on a terminal: what it inherits, and that a start which fails leaves nothing behind."""

import errno
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors import spawn as spawn_module
from actors.spawn import PtySpec, Spawned, spawn
from protocol.errors import ImageUnavailable
from tests.helpers.descriptors import open_descriptors

ENV = {"PATH": "/usr/bin:/bin"}
SLEEP = PtySpec(argv=("sh", "-c", "echo ready; exec sleep 60"), cwd="/", env=ENV)


def python(script: str, open_files: int | None = None) -> PtySpec:
    return PtySpec(argv=(sys.executable, "-S", "-c", script), cwd="/", env=ENV, open_files=open_files)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def finish(spawned: Spawned) -> tuple[bytes, int]:
    """All that it prints, and its exit code; closes what was opened."""
    os.set_blocking(spawned.master, True)
    output = b""
    try:
        while chunk := os.read(spawned.master, 65536):
            output += chunk
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    status = os.waitpid(spawned.pid, 0)[1]
    os.close(spawned.master)
    return output, os.waitstatus_to_exitcode(status)


def wait_ready(spawned: Spawned) -> None:
    os.set_blocking(spawned.master, True)
    assert os.read(spawned.master, 100) == b"ready\n"


def test_closing_the_terminal_hangs_up() -> None:
    spawned = spawn(SLEEP)
    wait_ready(spawned)
    os.close(spawned.master)
    assert os.waitstatus_to_exitcode(os.waitpid(spawned.pid, 0)[1]) == -signal.SIGHUP


def test_its_descriptors_are_ours_alone() -> None:
    spawned = spawn(SLEEP, hold_slave=True)
    assert spawned.slave is not None
    assert os.isatty(spawned.slave)
    for fd in (spawned.master, spawned.slave):
        assert not os.get_inheritable(fd)
    assert not os.get_blocking(spawned.master)
    os.kill(spawned.pid, signal.SIGKILL)
    os.waitpid(spawned.pid, 0)
    os.close(spawned.master)
    os.close(spawned.slave)


LIBC_SIGNALS = 0b11 << 31
"""32 and 33, bits from 1: glibc's own, out of reach; who was started by posix_spawn may have them ignored."""


def test_signals_that_we_ignore_or_block_are_not_passed_on() -> None:
    watched = {signal.SIGHUP, signal.SIGINT, signal.SIGPIPE}
    before = {number: signal.signal(number, signal.SIG_IGN) for number in watched}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        output, _ = finish(spawn(PtySpec(("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"), "/", ENV)))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        for number, handler in before.items():
            signal.signal(number, handler)
    blocked, ignored = (int(word, 16) for word in output.split()[1::2])
    assert blocked == 0
    assert ignored & ~LIBC_SIGNALS == 0


def test_a_raised_limit_of_open_files_can_be_lowered_for_it() -> None:
    script = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert finish(spawn(python(script)))[0] == f"{soft} {hard}\n".encode()
    assert finish(spawn(python(script, open_files=256)))[0] == f"256 {hard}\n".encode()


def test_a_fork_beside_threads_warns_nobody() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert finish(spawn(python("print('fine')"))) == (b"fine\n", 0)
    finally:
        done.set()
        thread.join()


def test_the_command_is_looked_up_in_the_childs_own_path(tmp_path: Path) -> None:
    tool = tmp_path / "hatch-tool"
    tool.write_text("#!/bin/sh\necho $0 $1\n")
    tool.chmod(0o755)
    spec = PtySpec(("hatch-tool", "--verbose"), "/", {"PATH": str(tmp_path)})
    assert finish(spawn(spec)) == (f"{tool} --verbose\n".encode(), 0)


def test_what_cannot_start_says_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    homeless = tmp_path / "homeless"
    homeless.write_text("#!/no/such/interpreter\n")
    homeless.chmod(0o755)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x01\x02")
    garbage.chmod(0o755)
    missing = "missing or not executable; install it"
    rows: list[tuple[PtySpec, str]] = [
        (msgspec.structs.replace(SLEEP, argv=("mflux-generate-nothing",)), missing),
        (msgspec.structs.replace(SLEEP, argv=("/no/such/command",)), missing),
        (msgspec.structs.replace(SLEEP, argv=(str(plain),)), missing),
        (msgspec.structs.replace(SLEEP, cwd=str(tmp_path / "nowhere")), "folder is missing; check that"),
        (msgspec.structs.replace(SLEEP, cwd=str(plain)), "folder is missing; check that"),
        (msgspec.structs.replace(SLEEP, argv=(str(homeless),)), "check the command and that its interpreter exists"),
        (msgspec.structs.replace(SLEEP, argv=(str(garbage),)), "Exec format error; check the command"),
        (msgspec.structs.replace(SLEEP, argv=("sh", "-c", "x" * 3_000_000)), "Argument list too long"),
        (msgspec.structs.replace(SLEEP, argv=("sh", "a\0b")), "embedded null byte"),
        (msgspec.structs.replace(SLEEP, argv=("sh", "\ud800")), "could not be started"),
        (msgspec.structs.replace(SLEEP, env={"PATH": "/bin", "A=B": "c"}), "illegal environment variable name"),
        (msgspec.structs.replace(SLEEP, rows=70_000), "could not be started"),
    ]
    for spec, advice in rows:
        with pytest.raises(ImageUnavailable, match=advice) as caught:
            spawn(spec)
        assert str(tmp_path) not in caught.value.message


def test_a_forked_child_never_runs_on_as_a_second_parent(tmp_path: Path) -> None:
    parent, mark = os.getpid(), tmp_path / "second"
    try:
        spawn(msgspec.structs.replace(SLEEP, rows=70_000))  # raises in the child before anything there catches it
    except BaseException as error:  # noqa: ASYNC103 - nothing here awaits
        if os.getpid() != parent:
            mark.touch()
            os._exit(0)
        assert isinstance(error, ImageUnavailable)  # noqa: PT017
    assert not mark.exists()


def test_too_many_open_files_is_told_as_such() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(open_descriptors())
    padding = [os.dup(0) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(padding) + 4, limits[1]))
    try:
        with pytest.raises(ImageUnavailable, match="raise the limit"):
            spawn(SLEEP)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in padding:
            os.close(fd)


def test_no_terminal_left_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def openpty() -> tuple[int, int]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "openpty", openpty)
    with pytest.raises(ImageUnavailable, match="no pseudo-terminal is left"):
        spawn(SLEEP)


def test_a_slave_that_cannot_be_held_ends_the_child_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn_module, "_slave_name", lambda master: "/no/such/slave")
    with pytest.raises(ImageUnavailable):
        spawn(SLEEP, hold_slave=True)
