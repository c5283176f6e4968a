"""Signed, expiring URLs: whoever holds one may read that one file, without headers."""

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from protocol.errors import Forbidden, Gone
from protocol.events import Artifact


class Signer:
    """Signs URLs with HMAC-SHA256 (RFC 2104); `now_s` is wall-clock time in seconds since 1970."""

    def __init__(self, secret: bytes, lifetime_s: float, now_s: Callable[[], float]) -> None:
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._now_s = now_s

    def sign(self, artifact: Artifact) -> Artifact:
        """The same artifact with a URL that works from now on, for the signer's lifetime."""
        return msgspec.structs.replace(artifact, url=self.artifact_url(artifact.sha256))

    def artifact_url(self, sha256: str) -> str:
        """A URL of one file of the artifact store that works from now on, for the signer's lifetime."""
        return f"/v1/artifacts/{sha256}?{self.stamp(sha256)}"

    def stamp(self, subject: str) -> str:
        """The query `expires=…&signature=…` that `verify` takes for the same subject, for the signer's lifetime."""
        expires = int(self._now_s() + self._lifetime_s)
        return f"expires={expires}&signature={self._signature(subject, expires)}"

    def verify(self, subject: str, expires: str, signature: str) -> None:
        """Raise Forbidden for a signature that is not ours, Gone for one that has expired."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            raise Forbidden("this link is not complete: take a fresh one")
        expected = self._signature(subject, int(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise Forbidden("this link is not valid: take a fresh one")
        if int(expires) < self._now_s():
            raise Gone("this link has expired: take a fresh one")

    def _signature(self, subject: str, expires: int) -> str:
        return hmac.new(self._secret, f"{subject}:{expires}".encode(), hashlib.sha256).hexdigest()
