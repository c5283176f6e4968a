"""The reverse proxies that the README configures, run with its very snippets on free loopback ports."""

import os
import pwd
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from tests.helpers.readme import README
from tests.helpers.required import require

NAME: Final = "hatch.example"
UPSTREAM: Final = "127.0.0.1:8642"


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that is being run: its port on 127.0.0.1, and what trusts its certificate."""

    port: int
    trust: ssl.SSLContext


def snippet(language: str) -> str:
    """The README's one block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(found)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def running_proxy(kind: str, upstream: str, port: int, folder: Path) -> AsyncIterator[Proxy]:
    """nginx or caddy in front of `upstream` (host:port), once it listens. Skips the test without the program."""
    program, openssl = require(kind), require("openssl")
    await trio.Path(folder).mkdir()
    certificate, key = folder / "proxy.crt", folder / "proxy.key"
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    await trio.run_process([openssl, "req", "-x509", "-days", "2", *made, *subject], capture_stderr=True)
    text = _replaced(snippet(kind), UPSTREAM, upstream)
    command = [program, *_PREPARED[kind](text, port, folder)]
    log = (folder / "log").open("wb")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with log:
        process = await trio.lowlevel.open_process(command, stdout=log, stderr=subprocess.STDOUT, env=environ)
    try:
        with trio.fail_after(20):
            await _until_listening(process, port, folder / "log")
        yield Proxy(port, ssl.create_default_context(cafile=str(certificate)))
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(5):
                await process.wait()
            process.kill()
            await process.wait()


def _nginx(text: str, port: int, folder: Path) -> list[str]:
    """In the foreground, with everything that it writes below `folder`."""
    text = _replaced(text, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = _replaced(text, f"/etc/ssl/{NAME}", str(folder / "proxy"))
    user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""  # who may read what this test has made
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder / 'pid'}; events {{}}\n"
        f"http {{ access_log off; {places}\n{text}}}\n"
    )
    return ["-c", str(folder / "nginx.conf"), "-e", "stderr", "-p", str(folder)]


def _caddy(text: str, port: int, folder: Path) -> list[str]:
    """Without its own certificates and its port for administration."""
    own = f"{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder / 'proxy.crt'} {folder / 'proxy.key'}"
    text = _replaced(text, f"{NAME} {{", own)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


_PREPARED: Final[dict[str, Callable[[str, int, Path], list[str]]]] = {"nginx": _nginx, "caddy": _caddy}


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the README's snippet does not say {old}"
    return text.replace(old, new)


async def _until_listening(process: trio.Process, port: int, log: Path) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            assert process.poll() is None, await trio.Path(log).read_text(errors="replace")
            await trio.sleep(0.02)
        else:
            await stream.aclose()
            return
