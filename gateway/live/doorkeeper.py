"""Who gets a WebSocket: the checks of its handshake, the choice of its codec, and the dialogue it leads to."""

import secrets
from functools import partial
from typing import Final

from gateway.access.auth import Identity
from gateway.access.entrance import Entrance
from gateway.access.origin import OriginPolicy
from gateway.live.dialogue import Reception, Visitor, converse
from gateway.net.problem import Problem
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest
from protocol.codec import Codec
from protocol.errors import BadMessage, HatcheryError, NotFound, Unauthenticated

SOCKET_PATH: Final = "/v1/ws"


class Doorkeeper:
    """Decides who gets a WebSocket."""

    def __init__(self, policy: OriginPolicy, reception: Reception, entrance: Entrance) -> None:
        self._policy = policy
        self._reception = reception
        self._entrance = entrance

    def admit(self, request: UpgradeRequest) -> Admission | Problem:
        """The dialogue for a client that may come in, or why it may not."""
        try:
            self._policy.check_host(request.headers.get("host"))
            if request.path != SOCKET_PATH:
                raise NotFound(f"the WebSocket is at {SOCKET_PATH}")
            self._policy.check_origin(request.headers.get("origin"))
            subprotocol, codec = _choose_codec(request)
            client = self._entrance.proxies.client(request.peer, request.headers)
            address = client[0] if client else None
            identity = self._recognise(request, address)
        except HatcheryError as error:
            return Problem.of(error)
        visitor = Visitor(connection=secrets.token_hex(6), address=address, identity=identity)
        serve = partial(converse, codec=codec, visitor=visitor, reception=self._reception, entrance=self._entrance)
        return Admission(subprotocol, serve)

    def _recognise(self, request: UpgradeRequest, address: str | None) -> Identity | None:
        """Who it is by the headers; None leaves it to `hello`: browsers cannot read why a handshake was refused.

        Raises RateLimited for too many guesses.
        """
        try:
            return self._entrance.recognise(request.headers, address)
        except Unauthenticated:
            return None


def _choose_codec(request: UpgradeRequest) -> tuple[str | None, Codec]:
    offers = [
        offer.strip() for value in request.headers.getlist("sec-websocket-protocol") for offer in value.split(",")
    ]
    if not offers:
        return None, Codec.JSON
    for offer in offers:
        if offer in {codec.value for codec in Codec}:
            return offer, Codec(offer)
    raise BadMessage(f"no subprotocol is known here; offer {' or '.join(codec.value for codec in Codec)}")
