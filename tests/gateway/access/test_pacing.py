"""How fast plain HTTP may be asked, and how many connections one address may have, on the arithmetic and for real."""

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.access.pacing import RequestPace
from gateway.access.quota import Share, Shares
from gateway.serve import Gateway
from protocol.errors import RateLimited
from tests.helpers.gateways import running_gateway
from tests.helpers.guarded import ADA, ADA_LINE, BOB, guarded, http_client
from tests.helpers.problems import check_problem

SPARING: dict[str, Any] = {"access__messages_per_s": 0.01, "access__messages_burst": 3}
BEHIND_A_PROXY: dict[str, Any] = {"server__trusted_proxies": ["127.0.0.1"]}


def test_a_user_asks_so_much_at_once_and_then_so_much_a_second() -> None:
    now = 0.0
    quick = Share(messages_per_s=4.0, messages_burst=2)
    pace = RequestPace(Shares(Share(messages_per_s=2.0, messages_burst=1), {"ada": quick}), clock=lambda: now)
    for _ in range(2):
        pace.user("ada")
    with pytest.raises(RateLimited) as refusal:
        pace.user("ada")
    assert (refusal.value.retryable, refusal.value.retry_after_ms) == (True, 250)
    pace.user("bob")
    with pytest.raises(RateLimited) as refusal:
        pace.user("bob")
    assert refusal.value.retry_after_ms == 500
    pace.stranger("bob")
    now = 0.5
    pace.user("bob")


def test_strangers_are_counted_by_household() -> None:
    pace = RequestPace(Shares(Share(messages_per_s=1.0, messages_burst=1)), clock=lambda: 0.0)
    pace.stranger("2001:db8::1")
    with pytest.raises(RateLimited):
        pace.stranger("2001:db8::2")
    pace.stranger("192.0.2.7")
    pace.stranger(None)


async def test_who_asks_too_fast_over_rest_is_refused_and_nobody_else(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, **SPARING) as gateway,
        http_client(gateway, ADA) as ada,
        http_client(gateway, BOB) as bob,
        http_client(gateway) as stranger,
    ):
        for _ in range(3):
            assert (await ada.get("/v1/hatches")).status_code == 200
        for refused in (await ada.get("/v1/hatches"), await ada.post("/v1/hatches", json={"prompt": "an owl"})):
            check_problem(refused, 429, "rate_limited")
            assert 0 < int(refused.headers["retry-after"]) <= 100
        assert (await bob.get("/v1/hatches")).status_code == 200
        answers = [(await stranger.get("/v1/hatches")).status_code for _ in range(4)]
        assert answers == [401, 401, 401, 429]
        assert (await stranger.get("/")).status_code == 429, "all doors are one to a stranger"
        for _ in range(5):
            assert (await stranger.get("/healthz")).status_code == 200


async def test_strangers_behind_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, **SPARING, **BEHIND_A_PROXY) as gateway,
        http_client(gateway, **{"X-Forwarded-For": "192.0.2.7"}) as one,
        http_client(gateway, **{"X-Forwarded-For": "192.0.2.8"}) as other,
    ):
        assert [(await one.get("/")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await other.get("/")).status_code == 200


async def test_connections_of_an_address_are_bounded_before_a_word_is_said(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__sockets_per_address=2) as gateway:
        idle = [await _connect(gateway) for _ in range(2)]
        answer = await _answer(gateway)
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b'"code":"quota_exceeded"' in answer
        await idle[0].aclose()
        with trio.fail_after(10):
            while not (await _answer(gateway)).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.05)
        await idle[1].aclose()


@pytest.mark.parametrize(
    "settings", [{}, {"access__tokens": [ADA_LINE], **BEHIND_A_PROXY}], ids=["without tokens", "a trusted proxy"]
)
async def test_this_machine_alone_and_a_trusted_proxy_have_as_many_as_they_need(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with running_gateway(tmp_path, **settings, access__sockets_per_address=1) as gateway:
        idle = [await _connect(gateway) for _ in range(3)]
        assert (await _answer(gateway)).startswith(b"HTTP/1.1 200")
        for stream in idle:
            await stream.aclose()


async def _connect(gateway: Gateway) -> trio.SocketStream:
    host, port = gateway.url.removeprefix("http://").split(":")
    return await trio.open_tcp_stream(host, int(port))


async def _answer(gateway: Gateway) -> bytes:
    """What a connection of its own is answered, whether it is asked for or not."""
    async with await _connect(gateway) as stream:
        with trio.fail_after(10):
            await stream.send_all(
                f"GET /healthz HTTP/1.1\r\nHost: {gateway.url.removeprefix('http://')}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            return b"".join([bytes(chunk) async for chunk in stream])
