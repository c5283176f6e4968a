"""A client of the gateway on trio: commands out, messages in, over one WebSocket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio
import trio_websocket

from protocol.codec import Codec
from protocol.commands import Command
from protocol.events import ServerMessage

_FRAME: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE: Final = msgspec.json.Decoder(ServerMessage)
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
CLOSE_S: Final = 5.0


class Client:
    """An open connection; one task reads it, any task may send."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, url: str) -> None:
        self._socket = socket
        self._url = url

    async def send(self, *commands: Command) -> None:
        """Send commands in one frame. Raises trio_websocket.ConnectionClosed."""
        await self._socket.send_message(msgspec.json.encode(commands).decode())

    async def messages(self) -> AsyncIterator[ServerMessage]:
        """Every message that this version knows, in order. Raises trio_websocket.ConnectionClosed at the end."""
        while True:
            for raw in _FRAME.decode(await self._socket.get_message()):
                try:
                    message: ServerMessage = _MESSAGE.decode(raw)
                except msgspec.ValidationError:
                    continue  # of a later version
                yield message

    async def fetch(self, path: str) -> bytes:
        """The file that an artifact's URL names. Raises httpx2.HTTPError."""
        async with httpx2.AsyncClient(base_url=self._url, trust_env=False) as http:
            response = await http.get(path)
            response.raise_for_status()
            return response.content


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[Client]:
    """A connection to the gateway at `url` (http://…).

    Raises OSError or trio_websocket.HandshakeError; as with any nursery, what the block raises arrives in an
    ExceptionGroup. The stream is ours: trio_websocket leaves it open when the gateway closes first.
    """
    at = urlsplit(url)
    async with await trio.open_tcp_stream(at.hostname or "", at.port or 80) as stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery, stream, at.netloc, "/v1/ws", subprotocols=[Codec.JSON.value], max_message_size=MAX_FRAME_BYTES
        )
        try:
            yield Client(socket, url)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await socket.aclose()
        nursery.cancel_scope.cancel()
