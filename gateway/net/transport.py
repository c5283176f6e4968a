"""The byte stream under every connection: non-blocking writes, one read per wake-up, and an end that never hangs."""

import contextlib
import socket
import struct
from typing import Protocol

import trio

Address = tuple[str, int]

RECEIVE_BYTES = 16 * 1024
"""At most this much is taken in one read, so that no flooding peer starves the others."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class PeerGone(ConnectionError):
    """The stream is over: reset by the peer, stuck for longer than allowed, or ended on this side."""


class Transport(Protocol):
    """A byte stream that one task reads, and on which callers write one at a time.

    `peer` and `local` are (host, port), or None where there is no network.
    """

    __slots__ = ()

    peer: Address | None
    local: Address | None

    def try_send(self, data: bytes | memoryview) -> int:
        """Write without waiting; the number of bytes taken, 0 when full. Raises PeerGone."""
        ...

    async def wait_writable(self) -> None:
        """Wait until `try_send` may take something. Raises PeerGone."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes, at most RECEIVE_BYTES; empty at the end of the stream. Raises PeerGone."""
        ...

    def send_eof(self) -> None:
        """Say that nothing more will be written. Raises PeerGone."""
        ...

    def release(self) -> None:
        """Let go of the stream; what is already on its way may still arrive. Never raises, may be repeated."""
        ...

    def abort(self) -> None:
        """End the stream forcefully; the peer sees a reset. Never raises, may be repeated."""
        ...

    async def send_all(self, data: bytes, timeout_s: float) -> None:
        """Write everything; raises PeerGone, and aborts, when the peer takes no byte for `timeout_s` seconds."""
        rest = memoryview(data)
        rest = rest[self.try_send(rest) :]
        while rest:
            with trio.move_on_after(timeout_s) as patience:
                await self.wait_writable()
            if patience.cancelled_caught:
                self.abort()
                raise PeerGone(f"no byte taken for {timeout_s:g} s")
            rest = rest[self.try_send(rest) :]

    async def close(self, timeout_s: float) -> None:
        """End the stream politely: what was written arrives, if the peer hangs up within `timeout_s` seconds.

        What the peer still sends is read and thrown away, since closing a socket with unread bytes resets it and
        may destroy the answer on its way.
        """
        with trio.move_on_after(timeout_s, shield=True), contextlib.suppress(PeerGone):
            self.send_eof()
            while await self.receive():
                pass
            self.release()
        self.abort()


class SocketTransport(Transport):
    """A connected non-blocking TCP socket, owned by this object from now on."""

    __slots__ = ("_sock", "local", "peer")

    def __init__(self, sock: socket.socket, peer: Address) -> None:
        self._sock = sock
        self.peer = peer
        host, port, *_ = sock.getsockname()
        self.local = (host, port)

    def try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise PeerGone(str(exc)) from exc

    async def wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._sock)
        except (trio.ClosedResourceError, OSError, ValueError) as exc:
            raise PeerGone("closed here") from exc

    async def receive(self) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except (trio.ClosedResourceError, ValueError) as exc:
                raise PeerGone("closed here") from exc
            except OSError as exc:
                raise PeerGone(str(exc)) from exc

    def send_eof(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise PeerGone(str(exc)) from exc

    def release(self) -> None:
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def abort(self) -> None:
        if self._sock.fileno() != -1:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.release()
