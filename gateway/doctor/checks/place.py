"""Where the gateway is to live: its data directory and its port."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from actors.sweep import LOCK_NAME
from gateway.config import Config
from gateway.doctor.finding import Finding, notice, ok, problem
from gateway.net import listener

GIB: Final = 1 << 30
LITTLE_SPACE: Final = GIB
NO_SPACE: Final = GIB // 16  # a few pictures and their jobs
CHOOSE_DATA: Final = "choose a folder of your own: --data FOLDER"


async def check_place(config: Config) -> list[Finding]:
    """The data directory, who holds it, and the port."""
    holder = find_holder(config.data)
    return [check_data(config.data), check_space(config.data), _check_holder(holder), await check_port(config, holder)]


def check_data(data: Path) -> Finding:
    """Whether files can be written there, by writing one; a missing directory is judged by its parent, not made."""
    place = _existing(data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return problem("data", f"{data}: {place} cannot be written ({error.strerror})", CHOOSE_DATA)
    return ok("data", f"{data} is writable" if place == data else f"{data} will be made in {place}")


def check_space(data: Path) -> Finding:
    """Whether pictures have room."""
    free = shutil.disk_usage(_existing(data)).free
    found = f"{free / GIB:.1f} GiB free for pictures"
    if free < NO_SPACE:
        return problem("disk", found, f"free some space, or {CHOOSE_DATA}")
    if free < LITTLE_SPACE:
        return notice("disk", found, f"free some space, or {CHOOSE_DATA}")
    return ok("disk", found)


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))


def find_holder(data: Path) -> str | None:
    """Who holds the data directory's lock, in words, or None; holds it for an instant itself, and only shared."""
    with contextlib.suppress(OSError), (data / LOCK_NAME).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(lock.fileno(), 32, 0).strip()
            return f"the gateway with process id {int(written)}" if written.isdigit() else "a gateway"
    return None


def _check_holder(holder: str | None) -> Finding:
    if holder is None:
        return ok("gateway", "none runs on this data directory")
    return notice("gateway", f"{holder} runs on this data directory", "for a second one, --data FOLDER --port 0")


async def check_port(config: Config, holder: str | None) -> Finding:
    """Whether the address can be listened on, by doing so; a gateway that runs explains why it is taken."""
    host, port = config.server.host, config.server.port
    try:
        for sock in await listener.bind(host, port):
            sock.close()
    except OSError as error:
        found = f"{host}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE and holder is not None:
            return notice("port", f"{found}, perhaps by {holder}", "for a second one, --data FOLDER --port 0")
        return problem("port", found, "--port 0 picks a free one" if port else "--host 127.0.0.1")
    return ok("port", f"{host}:{port} is free" if port else f"{host}: a free one will be picked")
