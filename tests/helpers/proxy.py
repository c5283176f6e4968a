"""A TCP proxy on loopback whose connections can be cut, and whose target may move, as a restarted gateway does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio


class Proxy:
    """Forwards `url` to whatever gateway `target` names."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.connections = 0  # ever
        self._scopes: set[trio.CancelScope] = set()

    def cut(self) -> None:
        """End every connection, as a network does: without a word."""
        for scope in self._scopes:
            scope.cancel()

    async def handle(self, client: trio.SocketStream) -> None:
        """One connection, until either side or `cut` ends it."""
        self.connections += 1
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._forward(client)
            finally:
                self._scopes.discard(scope)

    async def _forward(self, client: trio.SocketStream) -> None:
        at = urlsplit(self.target)
        try:
            gateway = await trio.open_tcp_stream(at.hostname or "", at.port or 0)
        except OSError:
            await client.aclose()
            return
        async with client, gateway, trio.open_nursery() as nursery:
            for source, sink in ((client, gateway), (gateway, client)):
                nursery.start_soon(_pump, source, sink, nursery.cancel_scope)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, over: trio.CancelScope) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    over.cancel()


@asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy that listens while the block runs."""
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        await nursery.start(trio.serve_listeners, proxy.handle, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
