"""python-socketio on uvicorn and uvloop, the stack of InvokeAI: a room per session."""

import asyncio
import socket
from typing import Any

import msgspec
import socketio
import uvicorn
from uvicorn import Config, Server

from tests.bench.shape import Shape, asked, finished, pushes, ready, slots, wait_for_go


class _Driven(Server):
    """A server that begins to send once it is told to."""

    def __init__(self, config: Config, shape: Shape, sio: Any, port: int) -> None:
        super().__init__(config)
        self._shape = shape
        self._sio = sio
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sio.start_background_task(self._drive)
        ready(self._port)

    async def _drive(self) -> None:
        await asyncio.to_thread(wait_for_go)
        await self._send_all()
        finished()

    async def _send_all(self) -> None:
        if self._shape.push:
            for word in pushes(self._shape):
                await self._sio.emit("event", msgspec.to_builtins(word), room=word.session)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        for when, events in slots(self._shape):
            if (pause := began + when - loop.time()) > 0:
                await asyncio.sleep(pause)
            for event in events:
                await self._sio.emit("event", msgspec.to_builtins(event), room=event.session)


def _serve(shape: Shape) -> None:
    sio: Any = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=600)

    async def commands(sid: str, messages: list[dict[str, Any]]) -> None:
        for command in messages:
            if command["type"] == "watch":
                await sio.enter_room(sid, command["session"])
                await sio.emit("event", {"type": "snapshot"}, to=sid)

    sio.on("commands", commands)
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        socketio.ASGIApp(sio),
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_level="warning",
        lifespan="off",
    )
    _Driven(config, shape, sio, port).run(sockets=[listening])


if __name__ == "__main__":
    _serve(asked())
