"""Whose pages and which names may reach the gateway: Host against DNS rebinding, Origin against foreign pages."""

from collections.abc import Sequence
from typing import Final

from protocol.errors import BadMessage, Forbidden

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class OriginPolicy:
    """Decides by the Host and Origin headers of a request.

    `host` (as it stands in a URL) and `port` are what is listened on; `public_urls` (`https://name[:port]`) are how the
    gateway is reached from outside, through a proxy; pages of `allowed_origins` may use it from elsewhere.
    """

    def __init__(self, *, host: str, port: int, public_urls: Sequence[str], allowed_origins: Sequence[str]) -> None:
        own = [f"http://{name}:{port}" for name in (*LOOPBACK, host)]
        self._own = {_as_browsers_say(url) for url in (*own, *public_urls)}
        parted = [_parted(origin) for origin in self._own]
        self._hosts = {name for _, _, name in parted} | {name + _DEFAULT_PORTS[scheme] for scheme, _, name in parted}
        secure = [name for scheme, _, name in map(_parted, map(_as_browsers_say, public_urls)) if scheme == "https"]
        self._secure = {*secure, *(name + _DEFAULT_PORTS["https"] for name in secure)}
        self.allowed_origins = [_as_browsers_say(origin) for origin in allowed_origins]

    def check_host(self, host: str | None) -> None:
        """Raise BadMessage unless the Host header names this gateway."""
        if (host or "").lower() not in self._hosts:
            raise BadMessage(
                "this Host is not served here: use a loopback name with its port, or add it to public_urls"
            )

    def is_secure(self, host: str | None) -> bool:
        """Whether the Host header names a public URL that is reached over HTTPS."""
        return (host or "").lower() in self._secure

    def check_origin(self, origin: str | None) -> None:
        """Raise Forbidden for a request that a foreign page has made."""
        if origin is not None and origin.lower() not in self._own and origin.lower() not in self.allowed_origins:
            raise Forbidden("this Origin may not do that: add it to allowed_origins if it is meant to")


def _parted(origin: str) -> tuple[str, str, str]:
    return origin.partition("://")


def _as_browsers_say(url: str) -> str:
    """Lower case, without a path, and without the port if it is the scheme's own (RFC 6454, section 6.2)."""
    origin = url.rstrip("/").lower()
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "/"))
