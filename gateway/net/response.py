"""One HTTP response on its way out, and the bounds of plain HTTP."""

import email.utils
import http

import h11
import msgspec

from gateway.net.bridle import bridled
from gateway.net.problem import Problem
from gateway.net.transport import Transport


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of plain HTTP; `…_s` are seconds."""

    header_bytes: int = 16 * 1024
    header_timeout_s: float = 10.0
    """From the first byte of a request, or from the accepted connection, to the end of its head."""
    idle_timeout_s: float = 60.0
    """Between an answer and the first byte of the next request."""
    body_bytes: int = 32 * 1024 * 1024
    body_timeout_s: float = 60.0
    """What waiting for the bytes of one body may cost in all."""
    write_timeout_s: float = 20.0
    """A client that takes no byte for so long is dropped."""
    close_timeout_s: float = 2.0
    """How long a client may take to hang up after the last answer."""


class Response:
    """Writes one response through h11; a head that knows its body's length leaves in one write with it.

    `sent` tells whether anything has left, `complete` whether everything has.
    """

    def __init__(
        self, connection: h11.Connection, transport: Transport, limits: HttpLimits, *, bodiless: bool = False
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._timeout_s = limits.write_timeout_s
        self._bodiless = bodiless
        self._head: h11.Response | None = None  # held back until its body comes
        self.sent = False
        self.complete = False

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin with status and headers (names in lower case); until something is `sent`, a later head replaces this.

        Raises h11.LocalProtocolError for headers that HTTP does not allow, PeerGone.
        """
        if self.sent:
            raise RuntimeError("the response has already begun")
        names = {name.lower() for name, _ in headers}
        if b"date" not in names:
            headers = [*headers, (b"date", email.utils.formatdate(usegmt=True).encode())]
        self._bodiless = self._bodiless or status in (204, 304)
        self._head = h11.Response(status_code=status, headers=headers, reason=_reason(status))
        if b"content-length" not in names and not self._bodiless:
            await self._emit()

    async def write(self, data: bytes, *, more: bool) -> None:
        """Continue, or end, the body. Raises PeerGone, and h11.LocalProtocolError for another length than announced."""
        if not (self.sent or self._head) or self.complete:
            raise RuntimeError("no response is under way")
        events: list[h11.Data | h11.EndOfMessage] = []
        if data and not self._bodiless:
            events.append(h11.Data(data=data))
        if not more:
            events.append(h11.EndOfMessage())
        await self._emit(*events)
        self.complete = not more

    async def go_on(self) -> None:
        """Ask for the body that the client holds back (`100 Continue`). Raises PeerGone."""
        event = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
        await self._transport.send_all(self._connection.send(event), self._timeout_s)

    async def answer(self, problem: Problem) -> None:
        """Be the response that tells of `problem`, the last one of its connection."""
        body = problem.body()
        await self.start(problem.status, bridled([*problem.raw_headers(body), (b"connection", b"close")]))
        await self.write(body, more=False)

    async def _emit(self, *events: h11.Data | h11.EndOfMessage) -> None:
        head, self._head = self._head, None
        data = b"".join(self._connection.send(event) for event in (head, *events) if event is not None)
        if data:
            self.sent = True
            await self._transport.send_all(data, self._timeout_s)


def _reason(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
