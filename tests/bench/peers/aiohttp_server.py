"""aiohttp, the stack of ComfyUI: its own WebSockets on asyncio's own loop."""

import asyncio
import json
from collections import defaultdict

import msgspec
from aiohttp import WSMsgType, web

from tests.bench.shape import Shape, asked, finished, pushes, ready, slots, wait_for_go

_encode = msgspec.json.Encoder().encode
_Watchers = defaultdict[str, list[web.WebSocketResponse]]


async def _drive(shape: Shape, watchers: _Watchers) -> None:
    if shape.push:
        for word in pushes(shape):
            text = _encode(word).decode()
            for websocket in watchers[word.session]:
                await websocket.send_str(text)
        return
    loop = asyncio.get_running_loop()
    began = loop.time()
    for when, events in slots(shape):
        if (pause := began + when - loop.time()) > 0:
            await asyncio.sleep(pause)
        for event in events:
            text = _encode(event).decode()
            for websocket in watchers[event.session]:
                await websocket.send_str(text)


async def _serve(shape: Shape) -> None:
    watchers: _Watchers = defaultdict(list)

    async def endpoint(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False, protocols=("hatch.v1.json",))
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                for command in json.loads(message.data):
                    if command["type"] == "watch":
                        watchers[command["session"]].append(websocket)
                        await websocket.send_str('[{"type":"snapshot"}]')
        return websocket

    app = web.Application()
    app.router.add_get("/v1/ws", endpoint)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    ready(runner.addresses[0][1])
    await asyncio.to_thread(wait_for_go)
    await _drive(shape, watchers)
    finished()
    await asyncio.to_thread(wait_for_go)


if __name__ == "__main__":
    asyncio.run(_serve(asked()))
