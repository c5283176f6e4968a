"""Starlette on hypercorn and trio: the other way to serve WebSockets on trio."""

import socket
from functools import partial
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

from tests.bench.peers.starlette_app import make_app
from tests.bench.shape import asked, ready

if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.errorlog = None
    app = make_app(asked(), lambda: ready(port))
    trio.run(partial(serve, cast("ASGIFramework", app), config))
