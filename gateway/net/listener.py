"""Accepts connections, and sees to it that none of them can end the process."""

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
import trio

from gateway.net.bridle import bridled
from gateway.net.problem import Problem
from gateway.net.transport import PeerGone, SocketTransport, Transport
from protocol.errors import HatcheryError, Overloaded

Handler = Callable[[Transport], Awaitable[None]]
LetIn = Callable[[str], contextlib.AbstractContextManager[None]]

BACKLOG = 1024
"""Connections the kernel may hold for us; it caps the number at its own `somaxconn`."""

REFUSALS = 64
"""Connections over a limit that are told so at the same time; the ones beyond are reset without a word."""

REFUSAL_S = 1.0
"""How long a refused client has to read why."""

PAUSE_S = 0.1
"""How long to wait for file descriptors or memory before accepting again; trio's own choice."""

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_STILLBORN = {errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPERM}
_NOT_LISTENING = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}

log = structlog.get_logger(__name__)


def anybody(_host: str) -> contextlib.AbstractContextManager[None]:
    """Bounds nobody."""
    return contextlib.nullcontext()


async def serve(
    listening: Sequence[socket.socket],
    handler: Handler,
    *,
    max_connections: int,
    connections: trio.Nursery,
    let_in: LetIn = anybody,
) -> None:
    """Run `handler` for each connection to sockets that `bind` gave, in the nursery `connections`.

    `let_in` gives a connection from a host its place until it ends, or raises the HatcheryError to refuse it with.
    Cancelling this stops the accepting only and closes the sockets: the connections belong to their nursery.
    """
    floor = _Floor(handler, max_connections, connections, let_in)
    with contextlib.ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            for sock in listening:
                nursery.start_soon(accept_loop, stack.enter_context(sock), floor.admit)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listening, non-blocking sockets for every address that `host` has here, all on one port; 0 is any free one.

    Clients can connect from now on. Raises OSError when no address can be bound.
    """
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        failure: OSError | None = None
        for family, _, _, _, address in dict.fromkeys(found):
            sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((address[0], port, *address[2:]))
            except OSError as exc:  # "localhost" may name ::1 on a machine without IPv6
                if exc.errno not in _NO_SUCH_ADDRESS:
                    raise
                failure = exc
                sock.close()
                continue
            sock.listen(BACKLOG)
            port = sock.getsockname()[1]
            listening.append(sock)
        if not listening:
            raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address here")
        undo.pop_all()
    return listening


async def accept_loop(listening: socket.socket, admit: Callable[[SocketTransport], None]) -> None:
    """Accept for ever: through a lack of file descriptors or memory, and past connections that died in the queue."""
    paused = False
    while True:
        await trio.lowlevel.wait_readable(listening)
        try:
            sock, address = listening.accept()
        except OSError as exc:
            if exc.errno in _NOT_LISTENING:
                raise
            if exc.errno not in _STILLBORN:  # EMFILE and its kin
                if not paused:
                    log.error("accept_paused", reason=str(exc))
                paused = True
                await trio.sleep(PAUSE_S)
            continue
        paused = False
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = SocketTransport(sock, address[:2])
        except OSError:  # reset before we came to it; macOS says EINVAL
            sock.close()
            continue
        admit(transport)


class _Floor:
    """The bounded set of connections being served, and beside it that of those being told why they are not."""

    def __init__(self, handler: Handler, max_connections: int, nursery: trio.Nursery, let_in: LetIn) -> None:
        self._handler = handler
        self._max = max_connections
        self._nursery = nursery
        self._let_in = let_in
        self._open = 0
        self._refused = 0

    def admit(self, transport: SocketTransport) -> None:
        """Serve a connection, or refuse it when the house is full, or has enough guests from there."""
        with contextlib.ExitStack() as place:
            try:
                if self._open >= self._max:
                    raise Overloaded("Too many connections.", retry_after_ms=1000)
                place.enter_context(self._let_in(transport.peer[0]))
            except HatcheryError as error:
                self._refuse(transport, Problem.of(error))
            else:
                self._open += 1
                place.callback(self._leave)
                self._nursery.start_soon(_run, self._handler, transport, place.pop_all())

    def _leave(self) -> None:
        self._open -= 1

    def _refuse(self, transport: Transport, problem: Problem) -> None:
        if self._refused >= REFUSALS:
            transport.abort()
            return
        self._refused += 1
        told = contextlib.ExitStack()
        told.callback(self._forget)
        self._nursery.start_soon(_run, partial(_tell, problem), transport, told)

    def _forget(self) -> None:
        self._refused -= 1


async def _run(handler: Handler, transport: Transport, place: contextlib.ExitStack) -> None:
    with place:
        try:
            await handler(transport)
        except* PeerGone:
            pass
        except* Exception as group:
            log.error("connection_failed", peer=transport.peer, exc_info=group)
        finally:
            transport.abort()


async def _tell(problem: Problem, transport: Transport) -> None:
    body = problem.body()
    headers = bridled([*problem.raw_headers(body), (b"connection", b"close")])
    head = b"".join(b"%s: %s\r\n" % header for header in headers)
    status = b"%d %s" % (problem.status, problem.title.encode())
    with contextlib.suppress(PeerGone):
        transport.try_send(b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, head, body))
    await transport.close(REFUSAL_S)
