from collections.abc import Sequence

import pytest

from gateway.access.origin import OriginPolicy
from protocol.errors import BadMessage, Forbidden


def _policy(
    *, host: str = "127.0.0.1", port: int = 8642, public: Sequence[str] = (), allowed: Sequence[str] = ()
) -> OriginPolicy:
    return OriginPolicy(host=host, port=port, public_urls=public, allowed_origins=allowed)


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "LocalHost:8642"])
def test_loopback_names_with_the_port_are_served(host: str) -> None:
    _policy().check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "localhost",  # that is port 80
        "127.0.0.1",
        "localhost:8643",
        "::1:8642",
        "evil.example:8642",
        "localhost:8642.evil.example",
        "127.0.0.1.evil.example:8642",
        "evil@localhost:8642",
        "localhost:8642 ",
        "127.1:8642",
        "0.0.0.0:8642",
    ],
)
def test_any_other_host_is_refused(host: str | None) -> None:
    with pytest.raises(BadMessage, match="Host"):
        _policy().check_host(host)


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "[::1]", "127.0.0.1:80"])
def test_port_80_may_go_unsaid(host: str) -> None:
    _policy(port=80).check_host(host)


def test_another_loopback_address_that_is_listened_on_is_served_and_its_own() -> None:
    policy = _policy(host="127.0.0.2")
    policy.check_host("127.0.0.2:8642")
    policy.check_origin("http://127.0.0.2:8642")
    with pytest.raises(BadMessage):
        _policy().check_host("127.0.0.2:8642")


@pytest.mark.parametrize(
    ("public", "host"),
    [
        ("https://hatch.example", "hatch.example"),
        ("https://hatch.example", "hatch.example:443"),
        ("https://Hatch.Example/", "HATCH.example"),
        ("https://hatch.example:443", "hatch.example"),
        ("http://hatch.example:80/", "hatch.example"),
        ("https://hatch.example:8443", "hatch.example:8443"),
        ("http://[fd00::1]:81", "[fd00::1]:81"),
    ],
)
def test_public_names_are_served(public: str, host: str) -> None:
    _policy(public=[public]).check_host(host)


@pytest.mark.parametrize("host", ["hatch.example:8642", "hatch.example:80", "sub.hatch.example", "", None])
def test_other_ports_and_names_of_a_public_url_are_not(host: str | None) -> None:
    with pytest.raises(BadMessage):
        _policy(public=["https://hatch.example"]).check_host(host)


@pytest.mark.parametrize(
    "origin",
    [
        None,  # not a page
        "http://127.0.0.1:8642",
        "http://localhost:8642",
        "http://[::1]:8642",
        "https://hatch.example",
        "HTTPS://hatch.example",
        "https://studio.example",
        "tauri://localhost",
    ],
)
def test_own_and_allowed_pages_may_change_things(origin: str | None) -> None:
    allowed = ["https://Studio.example:443/", "tauri://localhost"]
    _policy(public=["https://hatch.example/"], allowed=allowed).check_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil.example",
        "https://127.0.0.1:8642",  # another scheme is another origin
        "http://localhost",
        "http://localhost:3000",
        "http://hatch.example",
        "https://hatch.example.evil.example",
        "https://studio.example:444",
        "file://",
    ],
)
def test_foreign_pages_may_not(origin: str) -> None:
    with pytest.raises(Forbidden, match="Origin"):
        _policy(public=["https://hatch.example"], allowed=["https://studio.example"]).check_origin(origin)


@pytest.mark.parametrize(
    ("host", "secure"),
    [
        ("hatch.example", True),
        ("HATCH.example:443", True),
        ("hatch.example:80", False),
        ("plain.example", False),
        ("localhost:8642", False),
        (None, False),
    ],
)
def test_a_public_url_tells_whether_it_is_reached_over_https(host: str | None, secure: bool) -> None:
    assert _policy(public=["https://hatch.example", "http://plain.example"]).is_secure(host) is secure


def test_what_cors_answers_is_what_browsers_say() -> None:
    assert _policy(allowed=["https://Studio.example:443/"]).allowed_origins == ["https://studio.example"]
