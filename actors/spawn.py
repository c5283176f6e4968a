"""Starting a program on its own pseudo-terminal: everything from the checks before the fork to the exec.

`ptyprocess` forks and executes; its blocking reads, waits and finaliser are not used, fd and pid are ours from birth.
"""

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import sys
import termios
import warnings

import msgspec
import ptyprocess

from protocol.errors import ImageUnavailable

HOLDS_SLAVE = sys.platform == "darwin"
"""macOS discards unread output when the last slave is closed: there the parent holds one until the child is gone."""


class PtySpec(msgspec.Struct, frozen=True):
    """What to run: `argv[0]` is looked up in the PATH of `env`, which is the child's whole environment.

    `columns` and `rows` are the terminal's size in cells (1-65535). `open_files` is the soft limit of open files to
    give the child, for a parent that has raised its own. `pass_fds` are descriptors that the child gets under the same
    numbers; they stay the caller's to close.
    """

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    columns: int = 80
    rows: int = 24
    open_files: int | None = None
    pass_fds: tuple[int, ...] = ()


class Spawned(msgspec.Struct, frozen=True):
    """A running child, leader of its own session and group, and the descriptors that its starter now owns.

    `master` is non-blocking; neither is inherited by other children.
    """

    pid: int
    master: int
    slave: int | None


def spawn(spec: PtySpec, *, hold_slave: bool = HOLDS_SLAVE) -> Spawned:
    """Start the program; blocks for the fork, some milliseconds that grow with the parent's memory.

    Raises ImageUnavailable: no such folder or program, no terminal, descriptor or process to be had, exec refused.
    """
    command = _checked(spec)
    pid, master = _fork(spec, command)
    try:
        os.set_blocking(master, False)
        slave = os.open(_slave_name(master), os.O_RDWR | os.O_NOCTTY) if hold_slave else None
    except OSError as error:
        _abandon(pid, master)
        raise _unavailable(error) from error
    return Spawned(pid=pid, master=master, slave=slave)


def _checked(spec: PtySpec) -> str:
    """The program's absolute path, once all that can be checked before a fork has been."""
    if not os.path.isdir(spec.cwd):
        raise ImageUnavailable("The image job's folder is missing; check that the data folder exists and is writable.")
    command = shutil.which(spec.argv[0], path=spec.env.get("PATH", os.defpath))
    if command is None:
        name = os.path.basename(spec.argv[0])
        raise ImageUnavailable(f"The command {name!r} is missing or not executable; install it or correct its path.")
    try:
        # ptyprocess leaks its pipe when it gets no terminal, so ask first for all that it will need.
        with contextlib.ExitStack() as opened:
            for pair in (os.pipe, os.openpty):
                for fd in pair():
                    opened.callback(os.close, fd)
    except OSError as error:
        raise _unavailable(error) from error
    return os.path.abspath(command)


def _fork(spec: PtySpec, command: str) -> tuple[int, int]:
    """The pid and the master of a child that has reached its exec."""
    born: list[tuple[int, int]] = []

    class Born(ptyprocess.PtyProcess):  # type: ignore[misc]  # untyped
        """Notes its numbers, which a failed exec would lose, and owns nothing."""

        closed = True  # its __del__ then touches neither

        def __init__(self, pid: int, fd: int) -> None:
            os.set_inheritable(fd, False)
            self.pid, self.fd = pid, fd
            born.append((pid, fd))

    parent = os.getpid()
    try:
        # Python 3.12+ warns of a fork beside threads, since a lock that one of them holds stays locked in the child.
        # This child takes none: it makes system calls and executes.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
            Born.spawn(
                [command],
                dimensions=(spec.rows, spec.columns),
                preexec_fn=lambda: _become(spec, command),
                pass_fds=spec.pass_fds,
            )
    except Exception as error:
        for pid, master in born:
            _abandon(pid, master)
        raise _unavailable(error) from error
    finally:
        if os.getpid() != parent:
            os._exit(os.EX_OSERR)  # whatever the forked child has raised, it must never run on as a second gateway
    return born[0]


def _become(spec: PtySpec, command: str) -> None:
    """Turn the forked child into the program; ptyprocess hands whatever is raised here to the parent.

    That is why the exec is here as well: of its own exec ptyprocess only reports OSError, not a NUL in an argument.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:  # by Python, nohup or a shell's `&`; it would outlast the exec
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    attributes = termios.tcgetattr(0)
    attributes[1] &= ~termios.OPOST  # no \n to \r\n
    attributes[3] &= ~termios.ECHO
    attributes[3] |= termios.NOFLSH  # Ctrl-C must not throw away output that has not been read yet
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    if spec.open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spec.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for fd in spec.pass_fds:
        os.set_inheritable(fd, True)
    os.chdir(spec.cwd)
    os.execve(command, (command, *spec.argv[1:]), spec.env)


def _abandon(pid: int, master: int) -> None:
    os.close(master)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _slave_name(master: int) -> str:
    """ptsname(3), which Python itself only has from 3.13 on."""
    ptsname = ctypes.CDLL(None).ptsname
    ptsname.restype = ctypes.c_char_p
    name: bytes | None = ptsname(master)
    if name is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    return os.fsdecode(name)


def _unavailable(error: Exception) -> ImageUnavailable:
    match error:
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            advice = "too many files are open; raise the limit (ulimit -n) or use fewer render slots"
        case OSError(errno=errno.ENOSPC):
            advice = "no pseudo-terminal is left; raise the system's limit or use fewer render slots"
        case OSError(errno=errno.EAGAIN | errno.ENOMEM):
            advice = "no process, terminal or memory is to be had now; raise the limits or use fewer render slots"
        case _:
            reason, _, _path = str(error).partition(": '")
            advice = f"{reason}; check the command and that its interpreter exists"
    return ImageUnavailable(f"The image command could not be started: {advice}.")
