"""Starlette on uvicorn and uvloop, with the fastest of uvicorn's WebSocket implementations."""

import socket

import uvicorn

from tests.bench.peers.starlette_app import make_app
from tests.bench.shape import asked, ready

if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listening.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(asked(), lambda: ready(port)),
            loop="uvloop",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            log_level="warning",
        )
    )
    server.run(sockets=[listening])
