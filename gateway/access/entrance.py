"""What stands at the door: who is recognised, which proxies are believed, and how much one visitor may have."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from gateway.access.auth import Access, AccessLimits, Identity
from gateway.access.proxies import TrustedProxies
from gateway.access.quota import Quotas, Turnstile
from gateway.config import Config
from protocol.commands import Hello
from protocol.errors import Forbidden, Unauthenticated


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """Shared by plain HTTP and WebSockets."""

    access: Access
    proxies: TrustedProxies
    quotas: Quotas
    turnstile: Turnstile

    def greet(self, hello: Hello, known: Identity | None) -> Identity:
        """Who says hello; its own tokens go before `known`, from the handshake.

        Raises Unauthenticated, or Forbidden for a guest who wants to follow.
        """
        if hello.token is not None:
            return self.access.bearer(hello.token)
        if hello.watch_token is not None:
            if hello.follow is not None:
                raise Forbidden("a link is for one session: there is nothing to follow", field="follow")
            return self.access.guest(hello.watch_token)
        if known is None:
            raise Unauthenticated("a token is needed: in Authorization, a bearer subprotocol, or hello.token")
        return known

    @contextmanager
    def place(self, identity: Identity, address: str | None) -> Iterator[None]:
        """A connection's place until the block ends. Raises QuotaExceeded."""
        with ExitStack() as stack:
            if address is not None:
                stack.enter_context(self.turnstile.address(address))
            if identity.session is None:
                stack.enter_context(self.turnstile.user(identity.user))
            yield


def open_entrance(config: Config, secret: bytes, now_s: Callable[[], float] = time.time) -> Entrance:
    """The entrance that the settings ask for; `secret` signs logins and links, `now_s` is seconds since 1970."""
    access = config.access
    shared = bool(access.tokens)  # one person on one machine has all of it
    quotas = Quotas(
        connections=access.connections_per_user if shared else None,
        address_connections=access.connections_per_address if shared else None,
        messages_per_s=access.messages_per_s,
        messages_burst=access.messages_burst,
    )
    return Entrance(
        access=Access(access.tokens, secret, AccessLimits(login_s=access.login_s, link_s=access.link_s), now_s),
        proxies=TrustedProxies(config.server.trusted_proxies),
        quotas=quotas,
        turnstile=Turnstile(quotas),
    )
