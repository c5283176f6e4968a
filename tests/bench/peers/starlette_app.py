"""A Starlette application that sends one frame per event to whoever watches; runs on any ASGI server and event loop."""

import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.bench.shape import Shape, finished, pushes, slots, wait_for_go

_encode = msgspec.json.Encoder().encode


def make_app(shape: Shape, on_ready: Callable[[], None]) -> Starlette:
    """Each event is encoded once, however many watch."""
    watchers: defaultdict[str, list[WebSocket]] = defaultdict(list)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept("hatch.v1.json")
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                for command in json.loads(await websocket.receive_text()):
                    if command["type"] == "watch":
                        watchers[command["session"]].append(websocket)
                        await websocket.send_text('[{"type":"snapshot"}]')

    async def drive() -> None:
        await anyio.to_thread.run_sync(wait_for_go)
        await send_all()
        finished()

    async def send_all() -> None:
        if shape.push:
            for word in pushes(shape):
                text = _encode(word).decode()
                for websocket in watchers[word.session]:
                    await websocket.send_text(text)
            return
        began = anyio.current_time()
        for when, events in slots(shape):
            if (pause := began + when - anyio.current_time()) > 0:
                await anyio.sleep(pause)
            for event in events:
                text = _encode(event).decode()
                for websocket in watchers[event.session]:
                    await websocket.send_text(text)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drive)
            on_ready()
            yield
            tasks.cancel_scope.cancel()

    return Starlette(routes=[WebSocketRoute("/v1/ws", endpoint)], lifespan=lifespan)
