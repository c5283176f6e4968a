"""Behind a reverse proxy: who really asks, and over which scheme, as far as the proxy can be trusted to say so."""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers

from gateway.net.transport import Address


class TrustedProxies:
    """Reads X-Forwarded-For and X-Forwarded-Proto, of peers in trusted networks (`10.0.0.0/8`, `127.0.0.1`) only.

    Raises ValueError for what is no network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def client(self, peer: Address | None, headers: Headers) -> Address | None:
        """The address that asks: the last one, seen from here, that is no trusted proxy; its port is not known, 0.

        What stands further left in X-Forwarded-For was written by that client, who may write anything.
        """
        if peer is None or not self.trusts(peer[0]):
            return peer
        hops = [hop.strip() for value in headers.getlist("x-forwarded-for") for hop in value.split(",")]
        client = peer
        for hop in reversed(hops):
            address = _parsed(hop)
            if address is None:
                break
            client = (str(address), 0)
            if not self.trusts(client[0]):
                break
        return client

    def scheme(self, peer: Address | None, headers: Headers) -> str:
        """`https` if a trusted proxy says that it was asked so, else `http`."""
        said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return "https" if said == "https" and peer is not None and self.trusts(peer[0]) else "http"

    def trusts(self, host: str) -> bool:
        """Whether what this peer says of its clients is believed."""
        address = _parsed(host)
        return address is not None and any(address in network for network in self._networks)


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, without the port that some proxies add, and as IPv4 where IPv6 only wraps it."""
    bare = host[1:].partition("]")[0] if host.startswith("[") else host
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
