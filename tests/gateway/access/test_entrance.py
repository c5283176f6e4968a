"""Who is let in, over a real gateway: tokens, logins and guesses, by WebSocket and by REST."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.access.auth import COOKIE
from protocol.codec import Codec
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.guarded import (
    ADA,
    ADA_LINE,
    BOB,
    FAST,
    SLOW,
    guarded,
    handshake,
    http_client,
    offer,
    welcomed,
    wire_of,
)
from tests.helpers.problems import check_problem
from tests.helpers.wire import open_wire

PUBLIC = "https://hatch.example"


# --- REST


async def test_every_request_but_health_page_and_signed_urls_needs_a_token(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, http_client(gateway) as http:
        for method, path in (
            ("GET", "/v1/hatches"),
            ("GET", "/v1/hatches/x"),
            ("DELETE", "/v1/hatches/x"),
            ("GET", "/v1/agents"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("GET", "/nothing"),
            ("POST", "/v1/hatches"),
            ("POST", "/v1/login"),
            ("POST", "/v1/hatches/x/links"),
        ):
            answer = await http.request(method, path, json=None if method in ("GET", "DELETE") else {})
            check_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await http.get("/healthz")).status_code == 200
        check_problem(await http.get(f"/v1/artifacts/{'0' * 64}?expires=1&signature=x"), 403, "forbidden")
        assert (await http.get("/")).status_code != 401
        wrong = {"Authorization": f"Bearer {ADA}x"}
        check_problem(await http.get("/v1/hatches", headers=wrong), 401, "unauthenticated")
        check_problem(await http.get(f"/v1/hatches?token={ADA}&access_token={ADA}"), 401, "unauthenticated")


async def test_users_see_only_their_own_sessions(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, http_client(gateway, ADA) as ada, http_client(gateway, BOB) as bob:
        began = await ada.post("/v1/hatches", json={"prompt": "an owl"}, headers={"Idempotency-Key": "k"})
        where = began.headers["location"]
        session = where.rpartition("/")[2]
        assert (await ada.get(where)).status_code == 200
        check_problem(await bob.get(where), 404, "not_found")
        check_problem(await bob.delete(where), 404, "not_found")
        check_problem(await bob.post(f"{where}/links", json={}), 404, "not_found")
        assert [len((await http.get("/v1/hatches")).json()["items"]) for http in (ada, bob)] == [1, 0]
        other = await bob.post("/v1/hatches", json={"prompt": "a cat"}, headers={"Idempotency-Key": "k"})
        assert other.status_code == 202
        async with wire_of(gateway, BOB) as wire:
            for type_ in ("watch", "cancel", "unwatch"):
                assert (await wire.ask(type_, session=session))["code"] == "not_found"
            assert [item["prompt"] for item in (await wire.ask("list"))["items"]] == ["a cat"]
        async with wire_of(gateway, BOB, resume=[{"session": session, "epoch": 1, "seq": 0, "offset": 0}]) as wire:
            assert wire.heard[0]["resumed"] == [{"session": session, "result": "gone"}]
        assert (await ada.get(where)).json()["state"] not in ("cancelling", "cancelled")


async def test_followers_are_told_of_their_own_hatches_only(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, http_client(gateway, ADA) as ada, http_client(gateway, BOB) as bob:
        async with wire_of(gateway, ADA, follow="mine") as wire:
            await bob.post("/v1/hatches", json={"prompt": "a cat"})
            await ada.post("/v1/hatches", json={"prompt": "an owl"})
            told = await wire.until(lambda message: message["type"] == "snapshot")
            assert told["prompt"] == "an owl"
        async with wire_of(gateway, BOB, follow="mine") as wire:  # who left earlier is forgotten
            await ada.post("/v1/hatches", json={"prompt": "an owl"})
            await bob.post("/v1/hatches", json={"prompt": "a cat"})
            assert (await wire.until(lambda message: message["type"] == "snapshot"))["prompt"] == "a cat"


async def test_a_picture_s_signed_url_needs_no_token(tmp_path: Path) -> None:
    async with guarded(tmp_path, **FAST) as gateway, wire_of(gateway) as wire, http_client(gateway) as http:
        hatch = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA)}
        session = (await wire.ask("start", hatch=hatch))["session"]
        await wire.end(session)
        assert (await http.get(wire.of(session, "artifact")[0]["url"])).status_code == 200


# --- logging in


async def test_a_login_is_a_cookie_for_requests_and_sockets(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, http_client(gateway) as http:
        answer = await http.post("/v1/login", json={}, headers={"Authorization": f"Bearer {ADA}"})
        assert answer.json() == {"user": "ada"}
        said = answer.headers["set-cookie"]
        assert ADA not in said
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in said.split(";")}
        assert "secure" not in said.lower()
        assert (await http.get("/v1/hatches")).status_code == 200
        cookie = f"{COOKIE}={answer.cookies[COOKIE]}"
        assert await welcomed(gateway, Cookie=cookie)
        assert not await welcomed(gateway, Cookie=cookie[:-1] + ("0" if cookie[-1] != "0" else "1"))
        evil = {"Origin": "https://evil.example"}
        check_problem(await http.post("/v1/hatches", json={"prompt": "x"}, headers=evil), 403, "forbidden")
        assert (await http.delete("/v1/login")).status_code == 204
        check_problem(await http.get("/v1/hatches"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        ({"Host": "hatch.example"}, True),
        ({"X-Forwarded-Proto": "https"}, True),
        ({"X-Forwarded-Proto": "http"}, False),
        ({}, False),
    ],
)
async def test_behind_https_the_cookie_is_secure(tmp_path: Path, headers: dict[str, str], secure: bool) -> None:
    settings: dict[str, Any] = {"server__public_urls": [PUBLIC], "server__trusted_proxies": ["127.0.0.1"]}
    async with guarded(tmp_path, **settings) as gateway, http_client(gateway, ADA) as http:
        said = (await http.post("/v1/login", json={}, headers=headers)).headers["set-cookie"]
        assert ("secure" in said.lower()) is secure


async def test_a_login_that_expires_ends_its_socket(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__login_s=2.0) as gateway, http_client(gateway, ADA) as http:
        cookie = (await http.post("/v1/login", json={})).cookies[COOKIE]
        async with handshake(gateway, {"Cookie": f"{COOKIE}={cookie}"}) as socket:
            await socket.send('{"type":"hello","id":1}')
            assert "welcome" in await socket.recv()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4501


async def test_a_login_that_expires_ends_its_event_stream(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, access__login_s=2.0) as gateway,
        http_client(gateway, ADA) as http,
        wire_of(gateway) as wire,
    ):
        cookie = (await http.post("/v1/login", json={})).cookies[COOKIE]
        events = f"/v1/hatches/{await wire.start()}/events"
        async with http_client(gateway, Cookie=f"{COOKIE}={cookie}") as page:
            with trio.fail_after(20):
                said = (await page.get(events)).text
            assert '"code":"unauthenticated"' in said.rstrip().rpartition("\n")[2]
            check_problem(await page.get(events), 401, "unauthenticated")


async def test_without_tokens_nobody_needs_to_log_in(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **SLOW) as gateway, http_client(gateway) as http:
        answer = await http.post("/v1/login", json={})
        assert answer.json() == {"user": "local"}
        assert "set-cookie" not in answer.headers


# --- WebSockets


@pytest.mark.parametrize("codec", Codec)
async def test_a_stranger_is_told_so_and_closed(tmp_path: Path, codec: Codec) -> None:
    async with guarded(tmp_path) as gateway:
        for hello in ({}, {"token": "x"}, {"token": ""}, {"watch_token": "x"}, {"token": ADA_LINE}):
            async with open_wire(gateway.url, codec, greet=False) as wire:
                error = await wire.ask("hello", **hello)
                assert (error["type"], error["code"]) == ("error", "unauthenticated")
                assert await wire.closed() == 4501


async def test_nothing_is_done_for_a_stranger(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path) as gateway,
        http_client(gateway, ADA) as ada,
        open_wire(gateway.url, greet=False) as wire,
    ):
        await wire.send({"type": "hello", "id": 1}, {"type": "start", "id": 2, "hatch": {"prompt": "x"}})
        assert await wire.closed() == 4501
        assert [message.get("code") for message in wire.heard] == ["unauthenticated"]
        assert (await ada.get("/v1/hatches")).json()["items"] == []


async def test_a_token_may_come_in_each_of_its_ways(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        assert await welcomed(gateway, Authorization=f"Bearer {ADA}")
        assert not await welcomed(gateway, Authorization=f"Bearer {ADA}x")
        async with open_wire(gateway.url, subprotocols=offer(ADA)) as wire:
            assert wire.heard[0]["type"] == "welcome"
        async with open_wire(gateway.url, subprotocols=offer("x"), greet=False) as wire:
            assert (await wire.ask("hello"))["code"] == "unauthenticated"
        async with open_wire(gateway.url, subprotocols=offer("x"), hello={"token": ADA}) as wire:
            assert wire.heard[0]["type"] == "welcome"
        async with open_wire(gateway.url, subprotocols=offer(ADA), hello={"token": BOB}) as wire:
            session = await wire.start()
        async with http_client(gateway, BOB) as bob:  # what `hello` says goes before
            assert (await bob.get(f"/v1/hatches/{session}")).status_code == 200


# --- guessing


async def test_who_guesses_tokens_is_told_to_wait_whichever_way_it_asks(tmp_path: Path) -> None:
    few: dict[str, Any] = {"access__wrong_tokens": 2, "access__wrong_tokens_per_minute": 0.1}
    trusted = {"server__trusted_proxies": ["127.0.0.1"]}
    async with guarded(tmp_path, **few, **trusted) as gateway:
        forwarded = {"X-Forwarded-For": "192.0.2.7"}
        async with http_client(gateway, "guess", **forwarded) as guesser:
            for _ in range(2):
                check_problem(await guesser.get("/v1/hatches"), 401, "unauthenticated")
            for method, path in (("GET", "/v1/hatches"), ("POST", "/v1/login"), ("GET", "/metrics")):
                answer = await guesser.request(method, path, json=None if method == "GET" else {})
                check_problem(answer, 429, "rate_limited")
                assert 0 < int(answer.headers["retry-after"]) <= 600
            forged = {"Authorization": "", "Cookie": f"{COOKIE}=x:9999999999:y"}
            check_problem(await guesser.get("/v1/hatches", headers=forged), 429, "rate_limited")
        for shown in ({"Authorization": "Bearer guess"}, {"Sec-WebSocket-Protocol": ", ".join(offer("guess"))}):
            with pytest.raises(InvalidStatus) as refused:
                async with handshake(gateway, forwarded | shown):
                    pass
            assert refused.value.response.status_code == 429
            assert int(refused.value.response.headers["retry-after"]) > 0
        for hello in ({"token": "guess"}, {"watch_token": "guess"}):
            async with handshake(gateway, forwarded) as socket:
                await socket.send(msgspec.json.encode({"type": "hello", "id": 1, **hello}).decode())
                (error,) = msgspec.json.decode(await socket.recv())
                assert (error["code"], error["retryable"]) == ("rate_limited", True)
                assert 0 < error["retry_after_ms"] <= 600_000
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4003
        async with http_client(gateway, ADA, **forwarded) as neighbour:  # a right token from there
            assert (await neighbour.get("/v1/hatches")).status_code == 200
            assert await welcomed(gateway, Authorization=f"Bearer {ADA}", **forwarded)
        async with http_client(gateway, "guess", **{"X-Forwarded-For": "192.0.2.8"}) as another:
            check_problem(await another.get("/v1/hatches"), 401, "unauthenticated")


async def test_coming_without_a_token_or_with_an_old_login_is_no_guess(tmp_path: Path) -> None:
    few: dict[str, Any] = {"access__wrong_tokens": 1, "access__wrong_tokens_per_minute": 0.1, "access__login_s": 1.0}
    async with guarded(tmp_path, **few) as gateway, http_client(gateway) as http:
        await http.post("/v1/login", json={}, headers={"Authorization": f"Bearer {ADA}"})
        old = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
        http.cookies.clear()
        while (answer := await http.get("/v1/hatches", headers=old)).status_code == 200:
            pass
        for headers in (old, old, {}, {}):
            check_problem(answer, 401, "unauthenticated")
            answer = await http.get("/v1/hatches", headers=headers)
        for _ in range(3):  # and what a stranger may ask for anyway is not refused to a guesser
            assert (await http.get("/healthz", headers={"Authorization": "Bearer guess"})).status_code == 200
