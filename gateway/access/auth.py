"""Who asks: bearer tokens, kept as hashes; sessions of the page, in a signed cookie; links that show one session."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser

from gateway.config import TOKEN_LINE
from protocol.errors import Unauthenticated

LOCAL: Final = "local"  # without tokens everybody on this machine is the same person
COOKIE: Final = "hatchery_login"
SUBPROTOCOL: Final = "bearer."
TOKEN_PREFIX: Final = "hatchery_"  # lets scanners recognise a token that has leaked
TOKEN_BYTES: Final = 32
NEEDED: Final = "a token is needed: send Authorization: Bearer, or log in on the page"
MAX_SECRET_CHARS: Final = 1000


class WrongSecret(Unauthenticated):
    """What was shown was never given out here: a guess, unlike nothing at all or something that has expired."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was recognised, until `expires_s` (seconds since 1970).

    A guest, who came by a link, may only watch `session`, one of `user`'s. `key` names the token behind it.
    """

    user: str
    key: str = ""
    session: str | None = None
    expires_s: float = inf


class Shared(msgspec.Struct, frozen=True):
    """A link's token, and when it ends (seconds since 1970)."""

    watch_token: str
    expires_s: int


class AccessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a login and a link live."""

    login_s: float
    link_s: float


class Access:
    """Recognises people by what they show.

    `tokens` are lines `user:sha256:hash` as `new_token` makes them; without any, everybody is LOCAL. `secret` signs
    logins and links, `now_s` is the wall clock in seconds since 1970.
    """

    def __init__(self, tokens: Sequence[str], secret: bytes, limits: AccessLimits, now_s: Callable[[], float]) -> None:
        self.limits = limits
        self._now_s = now_s
        self._users: dict[str, str] = {}  # by the token's hash
        for line in tokens:
            user, _, digest = line.split(":")
            self._users[digest] = user
        self._logins = _Seal(secret, "login", now_s)
        self._links = _Seal(secret, "link", now_s)

    @property
    def required(self) -> bool:
        """Whether there are tokens, so that one has to be shown."""
        return bool(self._users)

    def bearer(self, token: str) -> Identity:
        """Whose token this is; the time it takes tells nothing about any of them. Raises Unauthenticated."""
        if not self.required:
            return Identity(user=LOCAL)
        shown = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        found = None
        for digest, user in self._users.items():
            if hmac.compare_digest(shown, digest):
                found = Identity(user=user, key=_fingerprint(digest))
        if found is None:
            raise WrongSecret("this token is not known here: check it for a missing or doubled character")
        return found

    def recognise(self, headers: Headers) -> Identity:
        """Who a request's headers say it is from: bearer token, subprotocol, login cookie. Raises Unauthenticated."""
        if not self.required:
            return Identity(user=LOCAL)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.bearer(token.strip())
        for offer in headers.get("sec-websocket-protocol", "").split(","):
            if offer.strip().startswith(SUBPROTOCOL):
                return self.bearer(_from_base64url(offer.strip().removeprefix(SUBPROTOCOL)))
        cookie = cookie_parser("; ".join(headers.getlist("cookie"))).get(COOKIE)
        if cookie is not None:
            return self._logged_in(cookie)
        raise Unauthenticated(NEEDED)

    def login(self, identity: Identity) -> str:
        """The value of a cookie that stands for this identity for a while; it ends with the token behind it."""
        return self._logins.seal(identity.key, self.limits.login_s).watch_token

    def share(self, user: str, session: str) -> Shared:
        """A token with which anybody may watch this session of this user for a while."""
        return self._links.seal(f"{session}:{user}", self.limits.link_s)

    def guest(self, watch_token: str) -> Identity:
        """Whoever holds a link's token. Raises Unauthenticated when it is not ours, or its time or its user is gone."""
        text, expires = self._links.unseal(watch_token)
        session, _, user = text.partition(":")
        if user not in (self._users.values() if self.required else (LOCAL,)):
            raise Unauthenticated("this link is no longer valid: ask for a fresh one")
        return Identity(user=user, session=session, expires_s=expires)

    def lasts_s(self, identity: Identity) -> float:
        """Seconds that this identity is still good for."""
        return identity.expires_s - self._now_s()

    def _logged_in(self, cookie: str) -> Identity:
        key, expires = self._logins.unseal(cookie)
        for digest, user in self._users.items():
            if hmac.compare_digest(key, _fingerprint(digest)):
                return Identity(user=user, key=key, expires_s=expires)
        raise Unauthenticated("the token of this login is gone: log in again")


def user_of(request: Request) -> str:
    """Whose request it is. Raises Unauthenticated for a stranger, who may have come for something signed or public."""
    identity: Identity | None = getattr(request.state, "identity", None)
    if identity is None:
        raise Unauthenticated(NEEDED)
    return identity.user


def new_token(user: str) -> tuple[str, str]:
    """A fresh token of 256 random bits, which nobody can guess from its hash, and the line for `access.tokens`.

    Raises ValueError for a name that cannot be a user's.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    line = f"{user}:sha256:{hashlib.sha256(token.encode()).hexdigest()}"
    if not re.fullmatch(TOKEN_LINE, line):
        raise ValueError("a user has a name of 1 to 64 letters, digits, dots, dashes and underscores")
    return token, line


class _Seal:
    """Signs short texts with an expiry, by HMAC-SHA256 (RFC 2104); each purpose has a key of its own."""

    def __init__(self, secret: bytes, purpose: str, now_s: Callable[[], float]) -> None:
        self._key = hmac.digest(secret, f"hatchery {purpose}".encode(), "sha256")
        self._now_s = now_s

    def seal(self, text: str, lifetime_s: float) -> Shared:
        expires = int(self._now_s() + lifetime_s)
        return Shared(f"{text}:{expires}:{self._signature(text, str(expires))}", expires)

    def unseal(self, sealed: str) -> tuple[str, int]:
        text, expires, signature = sealed[:MAX_SECRET_CHARS].rsplit(":", 2) if sealed.count(":") >= 2 else ("", "", "")
        if not hmac.compare_digest(self._signature(text, expires).encode(), signature.encode("utf-8", "replace")):
            raise WrongSecret("this was not signed here: ask for a fresh one")
        if int(expires) <= self._now_s():
            raise Unauthenticated("this has expired: ask for a fresh one")
        return text, int(expires)

    def _signature(self, text: str, expires: str) -> str:
        return hmac.new(self._key, f"{text}:{expires}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _fingerprint(digest: str) -> str:
    """Tells one token from another without giving its hash away."""
    return hashlib.sha256(digest.encode()).hexdigest()[:16]


def _from_base64url(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise WrongSecret("the bearer subprotocol holds no base64url") from error
