import pytest
from starlette.datastructures import Headers

from gateway.access.proxies import TrustedProxies

PROXY = ("10.0.0.1", 5000)


def _client(forwarded: str, *, peer: tuple[str, int] = PROXY, trusted: tuple[str, ...] = ("10.0.0.0/8",)) -> str:
    found = TrustedProxies(trusted).client(peer, Headers({"X-Forwarded-For": forwarded}))
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.9", "192.0.2.7"),  # through two proxies of ours
        ("198.51.100.1, 192.0.2.7", "192.0.2.7"),  # the first is what that client says
        ("127.0.0.1, 10.1.1.1, 192.0.2.7,10.0.0.2", "192.0.2.7"),
        ("unknown", "10.0.0.1"),
        ("evil, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_the_client(forwarded: str, client: str) -> None:
    assert _client(forwarded) == client


def test_headers_that_come_in_several_lines_are_one_list() -> None:
    headers = Headers(raw=[(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"192.0.2.7")])
    assert TrustedProxies(["10.0.0.1"]).client(PROXY, headers) == ("192.0.2.7", 0)


@pytest.mark.parametrize("trusted", [(), ("10.0.0.2",), ("::1",)])
def test_a_stranger_is_not_believed(trusted: tuple[str, ...]) -> None:
    assert _client("192.0.2.7", trusted=trusted) == "10.0.0.1"
    assert TrustedProxies(trusted).scheme(PROXY, Headers({"X-Forwarded-Proto": "https"})) == "http"


@pytest.mark.parametrize(
    ("said", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("", "http"), ("https, http", "http")],
)
def test_a_proxy_says_the_scheme(said: str, scheme: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).scheme(PROXY, Headers({"X-Forwarded-Proto": said})) == scheme


def test_where_there_is_no_network_there_is_no_address() -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client(None, Headers({"X-Forwarded-For": "192.0.2.7"})) is None
