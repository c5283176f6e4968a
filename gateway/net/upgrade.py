"""From an HTTP request to a WebSocket: who is let in is decided by an injected `admit`, how is decided here."""

from collections.abc import Awaitable, Callable
from typing import Final

import h11
import msgspec
from starlette.datastructures import Headers
from websockets.datastructures import Headers as HandshakeHeaders
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request as HandshakeRequest
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway.net.bridle import BRIDLE
from gateway.net.problem import Problem
from gateway.net.transport import Address
from gateway.net.websocket import UpgradeRequest, WebSocket, WebSocketLimits

VERSION: Final = "13"  # of the WebSocket protocol: RFC 6455


class Admission(msgspec.Struct, frozen=True):
    """The client may come in: `serve` is given its WebSocket, which speaks `subprotocol`, and ends with it."""

    subprotocol: str | None
    serve: Callable[[WebSocket], Awaitable[None]]


Admit = Callable[[UpgradeRequest], Admission | Problem]


def wants_websocket(request: h11.Request) -> bool:
    """Whether a request asks to go on as a WebSocket (RFC 6455, section 4.2.1)."""
    headers = Headers(raw=list(request.headers))
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and "websocket" in _tokens(headers, "upgrade")
        and "upgrade" in _tokens(headers, "connection")
    )


def upgrade_request(request: h11.Request, peer: Address | None) -> UpgradeRequest:
    """The request as `admit` sees it."""
    path, _, query = request.target.decode("ascii").partition("?")
    return UpgradeRequest(path, query, Headers(raw=list(request.headers)), peer)


class Handshake(msgspec.Struct, frozen=True):
    """A handshake about to succeed: `response` are the bytes that say so, `protocol` parses what comes then."""

    protocol: ServerProtocol
    response: bytes
    serve: Callable[[WebSocket], Awaitable[None]]


def negotiate(request: UpgradeRequest, admit: Admit, limits: WebSocketLimits) -> Handshake | Problem:
    """Ask `admit`, then settle version, key and extensions; a Problem when either refuses.

    Another version is answered as RFC 6455, section 4.4, has it: 426 with the one that is spoken.
    """
    admission = admit(request)
    if isinstance(admission, Problem):
        return admission
    if any(version.strip() != VERSION for version in request.headers.getlist("sec-websocket-version")):
        return Problem(
            status=426,
            code="bad_message",
            detail=f"only version {VERSION} of the WebSocket protocol is spoken here",
            headers=(("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"), ("Connection", "upgrade")),
        )
    subprotocol = None if admission.subprotocol is None else Subprotocol(admission.subprotocol)
    protocol = ServerProtocol(
        extensions=[_DEFLATE] if limits.deflate else None,
        select_subprotocol=lambda _protocol, _offered: subprotocol,
        state=OPEN,  # the request has been parsed already: what is still to come are frames
        max_size=limits.message_bytes,
    )
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    response = protocol.accept(HandshakeRequest(request.path, HandshakeHeaders(headers)))
    del protocol.select_subprotocol  # which is bound to the protocol: a cycle
    if response.status_code == 101:
        response.headers.update(BRIDLE)
        return Handshake(protocol, response.serialize(), admission.serve)
    return Problem(status=response.status_code, code="bad_message", detail=bytes(response.body).decode().strip())


# Without context takeover a connection holds no compressor, and one compressed frame serves many watchers.
_DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)


def _tokens(headers: Headers, name: str) -> set[str]:
    return {token.strip().lower() for value in headers.getlist(name) for token in value.split(",")}
