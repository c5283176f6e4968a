"""What stands at the door: who is recognised, which proxies are believed, and how much one visitor may have."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.requests import Request

from gateway.access.auth import Access, AccessLimits, Identity
from gateway.access.buckets import household
from gateway.access.pacing import RequestPace
from gateway.access.proxies import TrustedProxies
from gateway.access.quota import Shares, Turnstile, open_shares
from gateway.access.throttle import Patience, Throttle
from gateway.config import Config
from protocol.commands import Hello
from protocol.errors import Forbidden, Unauthenticated

log = structlog.get_logger(__name__)


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """Shared by plain HTTP and WebSockets."""

    access: Access
    proxies: TrustedProxies
    shares: Shares
    throttle: Throttle
    turnstile: Turnstile
    lobby: Turnstile  # for connections of which nothing is known yet
    pace: RequestPace

    def recognise(self, headers: Headers, address: str | None) -> Identity:
        """Who a request is from, by its headers. Raises Unauthenticated, or RateLimited for too many guesses."""
        with self.throttle.watch(address):
            return self.access.recognise(headers)

    def greet(self, hello: Hello, known: Identity | None, address: str | None) -> Identity:
        """Who says hello; its own tokens go before `known`, from the handshake.

        Raises Unauthenticated, RateLimited for too many guesses, or Forbidden for a guest who wants to follow.
        """
        if hello.token is not None:
            with self.throttle.watch(address):
                return self.access.bearer(hello.token)
        if hello.watch_token is not None:
            if hello.follow is not None:
                raise Forbidden("a link is for one session: there is nothing to follow", field="follow")
            with self.throttle.watch(address):
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

    def let_in(self, host: str) -> AbstractContextManager[None]:
        """Any connection's place from its first byte on; proxies speak for many. Raises QuotaExceeded."""
        return nullcontext() if self.proxies.trusts(host) else self.lobby.address(household(host))

    def place_of(self, request: Request) -> AbstractContextManager[None]:
        """The same for a recognised request whose answer goes on and on."""
        return self.place(request.state.identity, request.client.host if request.client else None)

    def lasts_s(self, request: Request) -> float:
        """Seconds that whoever a request was recognised as is still good for."""
        return self.access.lasts_s(request.state.identity)


def open_entrance(config: Config, secret: bytes, now_s: Callable[[], float] = time.time) -> Entrance:
    """The entrance that the settings ask for; `secret` signs logins and links, `now_s` is seconds since 1970."""
    access = config.access
    shares = open_shares(access)
    users = {line.partition(":")[0] for line in access.tokens}
    for user in access.quotas.keys() - users if users else ():
        log.warning("quota_of_nobody", user=user)  # a slip of the pen would give somebody the usual share
    return Entrance(
        access=Access(access.tokens, secret, AccessLimits(login_s=access.login_s, link_s=access.link_s), now_s),
        proxies=TrustedProxies(config.server.trusted_proxies),
        shares=shares,
        throttle=Throttle(Patience(burst=access.wrong_tokens, per_minute=access.wrong_tokens_per_minute)),
        turnstile=Turnstile(shares, access.connections_per_address if access.tokens else None),
        lobby=Turnstile(shares, access.sockets_per_address if access.tokens else None),
        pace=RequestPace(shares),
    )
