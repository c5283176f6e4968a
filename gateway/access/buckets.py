"""Token buckets of whoever came lately, bounded in number: by user, or by address as one household has it."""

import ipaddress
from collections import OrderedDict
from typing import Final

from protocol.ratelimit import TokenBucket

REMEMBERED: Final = 10_000
IPV6_PREFIX: Final = 64  # what one customer has at least: https://www.rfc-editor.org/rfc/rfc6177


class Buckets:
    """One bucket for each name; of those beyond `remembered` the one that has been quiet for longest is forgotten."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._buckets

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, rate: float, burst: int, now: float) -> float:
        """Take from the bucket of `name`, a new one of that rate a second and burst if need be; see TokenBucket."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(rate, burst, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return bucket.take(now)


def household(address: str) -> str:
    """Whoever has one address of IPv6 has all of its network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False)) if parsed.version == 6 else address
