"""Signed, expiring URLs: whoever holds one may read that one file, without headers."""

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from protocol.errors import Forbidden, Gone
from protocol.events import Artifact


class Signer:
    """Signs artifact URLs with HMAC-SHA256 (RFC 2104); `now_s` is wall-clock time in seconds since 1970."""

    def __init__(self, secret: bytes, lifetime_s: float, now_s: Callable[[], float]) -> None:
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._now_s = now_s

    def sign(self, artifact: Artifact) -> Artifact:
        """The same artifact with a URL that works from now on, for the signer's lifetime."""
        expires = int(self._now_s() + self._lifetime_s)
        signature = self._signature(artifact.sha256, expires)
        url = f"/v1/artifacts/{artifact.sha256}?expires={expires}&signature={signature}"
        return msgspec.structs.replace(artifact, url=url)

    def verify(self, sha256: str, expires: str, signature: str) -> None:
        """Raise Forbidden for a signature that is not ours, Gone for one that has expired."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            raise Forbidden("this link is not complete: take a fresh one from the session")
        expected = self._signature(sha256, int(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise Forbidden("this link is not valid: take a fresh one from the session")
        if int(expires) < self._now_s():
            raise Gone("this link has expired: take a fresh one from the session")

    def _signature(self, sha256: str, expires: int) -> str:
        return hmac.new(self._secret, f"{sha256}:{expires}".encode(), hashlib.sha256).hexdigest()
