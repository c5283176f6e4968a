"""Where a gateway is: its URL in the forms that sockets, WebSockets and plain HTTP want, and the token for it."""

from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

PORTS: Final = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's origin; `netloc` is its host and, unless it is the usual one, its port."""

    tls: bool
    host: str
    port: int
    netloc: str
    token: str | None = None

    @property
    def origin(self) -> str:
        """`http://…` or `https://…`, without a path."""
        return f"{'https' if self.tls else 'http'}://{self.netloc}"

    @property
    def socket(self) -> str:
        """The URL of the WebSocket."""
        return f"{'wss' if self.tls else 'ws'}://{self.netloc}/v1/ws"

    def file(self, url: str) -> tuple[str, dict[str, str]]:
        """The absolute form of a URL that the gateway gave, and the headers for it: no other host sees the token."""
        absolute = urljoin(self.origin, url)
        own = self.token is not None and absolute.startswith(f"{self.origin}/")
        return absolute, {"Authorization": f"Bearer {self.token}"} if own else {}


def parse_address(url: str, token: str | None = None) -> Address:
    """The address that `http://…` or `https://…` (or `ws`, `wss`) names; a path is ignored. Raises ValueError."""
    at = urlsplit(url)
    scheme = at.scheme.replace("ws", "http", 1)
    if scheme not in PORTS or not at.hostname:
        raise ValueError(f"not a gateway's address, such as http://127.0.0.1:8642: {url!r}")
    netloc = at.netloc.rpartition("@")[2]
    return Address(tls=scheme == "https", host=at.hostname, port=at.port or PORTS[scheme], netloc=netloc, token=token)
