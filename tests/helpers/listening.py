"""The listener on a free loopback port, for tests of what is served on it."""

import trio

from gateway.net.listener import Handler, LetIn, anybody, bind, serve
from gateway.net.transport import Address


async def listen(
    nursery: trio.Nursery,
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    max_connections: int = 1000,
    connections: trio.Nursery | None = None,
    let_in: LetIn = anybody,
) -> Address:
    """Serve in `nursery` (the connections in one of their own, if given), and return the first address."""
    sockets = await bind(host, 0)

    async def run() -> None:
        await serve(
            sockets, handler, max_connections=max_connections, connections=connections or nursery, let_in=let_in
        )

    nursery.start_soon(run)
    host, port = sockets[0].getsockname()[:2]
    return host, port
