"""Tokens, logins and links, with a clock of our own."""

import base64
import hashlib

import pytest
from starlette.datastructures import Headers

from gateway.access.auth import COOKIE, LOCAL, Access, AccessLimits, new_token
from protocol.errors import Unauthenticated

LIMITS = AccessLimits(login_s=100, link_s=50)
ADA, ADA_LINE = new_token("ada")
BOB, BOB_LINE = new_token("bob")


class _Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def _access(*lines: str, secret: bytes = b"secret", clock: _Clock | None = None) -> Access:
    return Access(lines, secret, LIMITS, clock or _Clock())


def _subprotocol(token: str) -> str:
    return "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def test_a_new_token_is_long_and_its_line_holds_only_its_hash() -> None:
    token, line = new_token("ada")
    assert token != ADA
    assert len(token) >= 43
    assert line == f"ada:sha256:{hashlib.sha256(token.encode()).hexdigest()}"


@pytest.mark.parametrize("user", ["", "a b", "a:b", "ä", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_is_refused(user: str) -> None:
    with pytest.raises(ValueError, match="user"):
        new_token(user)


def test_everybody_is_known_by_a_token_of_their_own() -> None:
    second, second_line = new_token("ada")
    access = _access(ADA_LINE, BOB_LINE, second_line)
    assert [access.bearer(token).user for token in (ADA, BOB, second)] == ["ada", "bob", "ada"]


@pytest.mark.parametrize(
    "token",
    ["", "x", ADA[:-1], ADA + "x", ADA.upper(), ADA_LINE, ADA_LINE[11:], "\ud800", "ä"],
    ids=["empty", "short", "cut", "longer", "upper", "line", "hash", "surrogate", "umlaut"],
)
def test_what_is_no_token_is_nobody(token: str) -> None:
    with pytest.raises(Unauthenticated):
        _access(ADA_LINE, BOB_LINE).bearer(token)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ADA}"},
        {"Authorization": f"bearer  {ADA}"},
        {"Sec-WebSocket-Protocol": f"hatch.v1.json, {_subprotocol(ADA)}"},
        {"Sec-WebSocket-Protocol": f"{_subprotocol(ADA)},hatch.v1.json"},
        {"Cookie": f"theme=dark; {COOKIE}={_access(ADA_LINE).login(_access(ADA_LINE).bearer(ADA))}"},
    ],
)
def test_a_token_is_taken_from_where_it_may_stand(headers: dict[str, str]) -> None:
    assert _access(ADA_LINE, BOB_LINE).recognise(Headers(headers)).user == "ada"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ADA},
        {"Authorization": f"Basic {ADA}"},
        {"Authorization": "Bearer"},
        {"Sec-WebSocket-Protocol": f"bearer.{ADA}"},
        {"Sec-WebSocket-Protocol": "bearer.%%%"},
        {"Sec-WebSocket-Protocol": "bearer._w"},
        {"Cookie": f"{COOKIE}={ADA}"},
        {"Cookie": f"{COOKIE}="},
        {"Cookie": f"{COOKIE}=a:b:c"},
        {"Cookie": f"{COOKIE}=:::"},
        {"X-Token": ADA},
    ],
)
def test_and_from_nowhere_else(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        _access(ADA_LINE).recognise(Headers(headers))


def test_without_tokens_everybody_is_the_local_user() -> None:
    access = _access()
    assert not access.required
    assert access.recognise(Headers({})).user == LOCAL
    assert access.bearer("anything").user == LOCAL


def _cookie(value: str) -> Headers:
    return Headers({"Cookie": f"{COOKIE}={value}"})


def test_a_login_ends_with_its_time() -> None:
    clock = _Clock()
    access = _access(ADA_LINE, clock=clock)
    cookie = access.login(access.bearer(ADA))
    clock.now += 99
    identity = access.recognise(_cookie(cookie))
    assert access.lasts_s(identity) == 1
    clock.now += 1
    with pytest.raises(Unauthenticated, match="expired"):
        access.recognise(_cookie(cookie))


def test_a_login_ends_with_its_token_but_not_with_another_one() -> None:
    cookie = _access(ADA_LINE, BOB_LINE).login(_access(ADA_LINE).bearer(ADA))
    assert _access(ADA_LINE).recognise(_cookie(cookie)).user == "ada"
    with pytest.raises(Unauthenticated):
        _access(BOB_LINE, new_token("ada")[1]).recognise(_cookie(cookie))


def test_a_cookie_gives_neither_the_token_nor_its_hash_away() -> None:
    cookie = _access(ADA_LINE).login(_access(ADA_LINE).bearer(ADA))
    assert ADA not in cookie
    assert not any(part and part in ADA_LINE for part in cookie.split(":") if len(part) > 10)


def test_a_cookie_of_another_gateway_or_with_another_time_is_nobody_s() -> None:
    access = _access(ADA_LINE)
    cookie = access.login(access.bearer(ADA))
    key, expires, signature = cookie.split(":")
    with pytest.raises(Unauthenticated):
        _access(ADA_LINE, secret=b"other").recognise(_cookie(cookie))
    for forged in (f"{key}:{int(expires) + 1}:{signature}", f"{key}x:{expires}:{signature}", f"{key}:{expires}:"):
        with pytest.raises(Unauthenticated):
            access.recognise(_cookie(forged))


def test_a_link_shows_one_session_until_it_expires() -> None:
    clock = _Clock()
    access = _access(ADA_LINE, clock=clock)
    shared = access.share("ada", "s1")
    assert shared.expires_s == clock.now + 50
    guest = access.guest(shared.watch_token)
    assert (guest.user, guest.session, access.lasts_s(guest)) == ("ada", "s1", 50)
    clock.now += 50
    with pytest.raises(Unauthenticated, match="expired"):
        access.guest(shared.watch_token)


def test_a_link_is_no_login_and_a_login_no_link() -> None:
    access = _access(ADA_LINE)
    with pytest.raises(Unauthenticated):
        access.recognise(_cookie(access.share("ada", "s1").watch_token))
    with pytest.raises(Unauthenticated):
        access.guest(access.login(access.bearer(ADA)))
    with pytest.raises(Unauthenticated):
        access.bearer(access.share("ada", "s1").watch_token)


def test_a_link_ends_with_its_user() -> None:
    link = _access(ADA_LINE).share("ada", "s1").watch_token
    assert _access(new_token("ada")[1]).guest(link).user == "ada"
    with pytest.raises(Unauthenticated):
        _access(BOB_LINE).guest(link)
    local = _access().share(LOCAL, "s1").watch_token
    assert _access().guest(local).session == "s1"
    with pytest.raises(Unauthenticated):
        _access(ADA_LINE).guest(local)


@pytest.mark.parametrize("text", ["", ":", "::", "a:1:b", "s1:ada:9999999999:", "\ud800:1:2", "x" * 100_000])
def test_a_link_that_is_not_ours_is_nobody_s(text: str) -> None:
    with pytest.raises(Unauthenticated):
        _access(ADA_LINE).guest(text)
