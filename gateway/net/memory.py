"""A transport pair in memory: the whole gateway without a socket, so that it also runs in virtual time."""

import trio

from gateway.net.transport import RECEIVE_BYTES, Address, PeerGone, Transport


class _Pipe:
    """One direction: a bounded buffer between a writer and a reader."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.eof = False  # the writer is done
        self.deaf = False  # the reader is gone
        self.reset = False  # either side aborted
        self.changed = trio.lowlevel.ParkingLot()

    @property
    def writable(self) -> bool:
        return len(self.data) < self.capacity or self.deaf or self.reset


class MemoryTransport(Transport):
    """One end of a `memory_pair`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, peer: Address | None, local: Address | None) -> None:
        self._in = incoming
        self._out = outgoing
        self._ended = False
        self.peer = peer
        self.local = local

    def try_send(self, data: bytes | memoryview) -> int:
        if self._ended or self._out.eof or self._out.deaf or self._out.reset:
            raise PeerGone("closed")
        taken = data[: self._out.capacity - len(self._out.data)]
        self._out.data += taken
        self._out.changed.unpark_all()
        return len(taken)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self._ended or self._out.writable):
            await self._out.changed.park()
        if self._ended:
            raise PeerGone("closed here")

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not (self._ended or self._in.data or self._in.eof or self._in.reset):
            await self._in.changed.park()
        if self._ended or self._in.reset:
            raise PeerGone("closed here" if self._ended else "reset by the peer")
        data = bytes(self._in.data[:RECEIVE_BYTES])
        del self._in.data[:RECEIVE_BYTES]
        self._in.changed.unpark_all()
        return data

    def send_eof(self) -> None:
        if self._ended or self._out.reset:
            raise PeerGone("closed")
        self._out.eof = True
        self._out.changed.unpark_all()

    def release(self) -> None:
        self._ended = self._out.eof = self._in.deaf = True
        self._out.changed.unpark_all()
        self._in.changed.unpark_all()

    def abort(self) -> None:
        if not self._ended:
            self._in.reset = self._out.reset = True
            self.release()


def memory_pair(
    capacity: int = 64 * 1024, *, client: Address | None = None, server: Address | None = None
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two connected ends, the client's and the server's; each direction holds `capacity` bytes before it is full."""
    up, down = _Pipe(capacity), _Pipe(capacity)
    return MemoryTransport(down, up, server, client), MemoryTransport(up, down, client, server)
