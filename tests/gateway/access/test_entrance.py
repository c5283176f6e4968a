"""Who may do what, over a real gateway: tokens, logins, links and shares, by WebSocket and by REST."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from gateway.access.auth import COOKIE, new_token
from gateway.serve import Gateway
from protocol.codec import Codec
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.problems import check_problem
from tests.helpers.wire import Wire, open_wire

ADA, ADA_LINE = new_token("ada")
BOB, BOB_LINE = new_token("bob")
FAST: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
SLOW: dict[str, Any] = {"sim__tokens_per_s": 1, "sim__step_s": 30}
PUBLIC = "https://hatch.example"


def _guarded(data: Path, **settings: Any) -> Any:
    return running_gateway(data, **{"access__tokens": [ADA_LINE, BOB_LINE], **SLOW, **settings})


def _http(gateway: Gateway, token: str | None = None, **headers: str) -> httpx2.AsyncClient:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.AsyncClient(base_url=gateway.url, trust_env=False, headers=headers)


def _offer(token: str) -> list[str]:
    return ["hatch.v1.json", "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")]


@asynccontextmanager
async def _wire(gateway: Gateway, token: str = ADA, **hello: Any) -> AsyncIterator[Wire]:
    async with open_wire(gateway.url, hello={"token": token, **hello}) as wire:
        assert wire.heard[0]["type"] == "welcome"
        yield wire


def _handshake(gateway: Gateway, headers: dict[str, str]) -> Any:
    address = gateway.url.replace("http", "ws") + "/v1/ws"
    return connect(address, additional_headers=headers, proxy=None, compression=None)


async def _welcomed(gateway: Gateway, **headers: str) -> bool:
    """Whether these headers of the handshake are enough for a `hello` that names no token."""
    async with _handshake(gateway, headers) as socket:
        await socket.send('{"type":"hello","id":1}')
        answer = msgspec.json.decode(await socket.recv())[0]
        return bool(answer["type"] == "welcome")


# --- REST


async def test_every_request_but_health_page_and_signed_urls_needs_a_token(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _http(gateway) as http:
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
    async with _guarded(tmp_path) as gateway, _http(gateway, ADA) as ada, _http(gateway, BOB) as bob:
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
        async with _wire(gateway, BOB) as wire:
            for type_ in ("watch", "cancel", "unwatch"):
                assert (await wire.ask(type_, session=session))["code"] == "not_found"
            assert [item["prompt"] for item in (await wire.ask("list"))["items"]] == ["a cat"]
        async with _wire(gateway, BOB, resume=[{"session": session, "epoch": 1, "seq": 0, "offset": 0}]) as wire:
            assert wire.heard[0]["resumed"] == [{"session": session, "result": "gone"}]
        assert (await ada.get(where)).json()["state"] not in ("cancelling", "cancelled")


async def test_followers_are_told_of_their_own_hatches_only(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _http(gateway, ADA) as ada, _http(gateway, BOB) as bob:
        async with _wire(gateway, ADA, follow="mine") as wire:
            await bob.post("/v1/hatches", json={"prompt": "a cat"})
            await ada.post("/v1/hatches", json={"prompt": "an owl"})
            told = await wire.until(lambda message: message["type"] == "snapshot")
            assert told["prompt"] == "an owl"
        async with _wire(gateway, BOB, follow="mine") as wire:  # who left earlier is forgotten
            await ada.post("/v1/hatches", json={"prompt": "an owl"})
            await bob.post("/v1/hatches", json={"prompt": "a cat"})
            assert (await wire.until(lambda message: message["type"] == "snapshot"))["prompt"] == "a cat"


async def test_a_picture_s_signed_url_needs_no_token(tmp_path: Path) -> None:
    async with _guarded(tmp_path, **FAST) as gateway, _wire(gateway) as wire, _http(gateway) as http:
        hatch = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA)}
        session = (await wire.ask("start", hatch=hatch))["session"]
        await wire.end(session)
        assert (await http.get(wire.of(session, "artifact")[0]["url"])).status_code == 200


# --- logging in


async def test_a_login_is_a_cookie_for_requests_and_sockets(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _http(gateway) as http:
        answer = await http.post("/v1/login", json={}, headers={"Authorization": f"Bearer {ADA}"})
        assert answer.json() == {"user": "ada"}
        said = answer.headers["set-cookie"]
        assert ADA not in said
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in said.split(";")}
        assert "secure" not in said.lower()
        assert (await http.get("/v1/hatches")).status_code == 200
        cookie = f"{COOKIE}={answer.cookies[COOKIE]}"
        assert await _welcomed(gateway, Cookie=cookie)
        assert not await _welcomed(gateway, Cookie=cookie[:-1] + ("0" if cookie[-1] != "0" else "1"))
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
    async with _guarded(tmp_path, **settings) as gateway, _http(gateway, ADA) as http:
        said = (await http.post("/v1/login", json={}, headers=headers)).headers["set-cookie"]
        assert ("secure" in said.lower()) is secure


async def test_a_login_that_expires_ends_its_socket(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__login_s=2.0) as gateway, _http(gateway, ADA) as http:
        cookie = (await http.post("/v1/login", json={})).cookies[COOKIE]
        async with _handshake(gateway, {"Cookie": f"{COOKIE}={cookie}"}) as socket:
            await socket.send('{"type":"hello","id":1}')
            assert "welcome" in await socket.recv()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4501


async def test_a_login_that_expires_ends_its_event_stream(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__login_s=2.0) as gateway, _http(gateway, ADA) as http, _wire(gateway) as wire:
        cookie = (await http.post("/v1/login", json={})).cookies[COOKIE]
        events = f"/v1/hatches/{await wire.start()}/events"
        async with _http(gateway, Cookie=f"{COOKIE}={cookie}") as page:
            with trio.fail_after(20):
                said = (await page.get(events)).text
            assert '"code":"unauthenticated"' in said.rstrip().rpartition("\n")[2]
            check_problem(await page.get(events), 401, "unauthenticated")


async def test_without_tokens_nobody_needs_to_log_in(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **SLOW) as gateway, _http(gateway) as http:
        answer = await http.post("/v1/login", json={})
        assert answer.json() == {"user": "local"}
        assert "set-cookie" not in answer.headers


# --- WebSockets


@pytest.mark.parametrize("codec", Codec)
async def test_a_stranger_is_told_so_and_closed(tmp_path: Path, codec: Codec) -> None:
    async with _guarded(tmp_path) as gateway:
        for hello in ({}, {"token": "x"}, {"token": ""}, {"watch_token": "x"}, {"token": ADA_LINE}):
            async with open_wire(gateway.url, codec, greet=False) as wire:
                error = await wire.ask("hello", **hello)
                assert (error["type"], error["code"]) == ("error", "unauthenticated")
                assert await wire.closed() == 4501


async def test_nothing_is_done_for_a_stranger(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _http(gateway, ADA) as ada, open_wire(gateway.url, greet=False) as wire:
        await wire.send({"type": "hello", "id": 1}, {"type": "start", "id": 2, "hatch": {"prompt": "x"}})
        assert await wire.closed() == 4501
        assert [message.get("code") for message in wire.heard] == ["unauthenticated"]
        assert (await ada.get("/v1/hatches")).json()["items"] == []


async def test_a_token_may_come_in_each_of_its_ways(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway:
        assert await _welcomed(gateway, Authorization=f"Bearer {ADA}")
        assert not await _welcomed(gateway, Authorization=f"Bearer {ADA}x")
        async with open_wire(gateway.url, subprotocols=_offer(ADA)) as wire:
            assert wire.heard[0]["type"] == "welcome"
        async with open_wire(gateway.url, subprotocols=_offer("x"), greet=False) as wire:
            assert (await wire.ask("hello"))["code"] == "unauthenticated"
        async with open_wire(gateway.url, subprotocols=_offer("x"), hello={"token": ADA}) as wire:
            assert wire.heard[0]["type"] == "welcome"
        async with open_wire(gateway.url, subprotocols=_offer(ADA), hello={"token": BOB}) as wire:
            session = await wire.start()
        async with _http(gateway, BOB) as bob:  # what `hello` says goes before
            assert (await bob.get(f"/v1/hatches/{session}")).status_code == 200


# --- links


@asynccontextmanager
async def _shared(gateway: Gateway, **hatch: Any) -> AsyncIterator[tuple[str, str]]:
    """A session of ada's that runs, and a link's token for it."""
    async with _http(gateway, ADA) as ada:
        began = await ada.post("/v1/hatches", json={"prompt": "an owl", **hatch})
        link = await ada.post(f"{began.headers['location']}/links", json={})
        assert link.status_code == 201
        members = link.json()
        assert members["url"] == f"/#watch={members['watch_token']}"
        yield began.json()["session"], members["watch_token"]


async def test_a_link_shows_its_session_to_its_end(tmp_path: Path) -> None:
    async with (
        _guarded(tmp_path, sim__tokens_per_s=200, sim__step_s=0.02) as gateway,
        _shared(gateway) as (session, link),
        open_wire(gateway.url, hello={"watch_token": link}) as guest,
    ):
        assert (await guest.ask("watch", session=session))["type"] == "snapshot"
        assert (await guest.end(session))["outcome"] == "done"
        assert guest.of(session, "progress")


async def test_a_guest_may_only_watch(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _shared(gateway) as (session, link), _wire(gateway) as ada:
        other = await ada.start("a cat")
        async with open_wire(gateway.url, hello={"watch_token": link}) as guest:
            for type_, fields in (
                ("start", {"hatch": {"prompt": "x"}}),
                ("cancel", {"session": session}),
                ("cancel", {"key": "k"}),
                ("list", {}),
                ("watch", {"session": other}),
                ("unwatch", {"session": other}),
                ("watch", {"session": "unknown"}),
            ):
                error = await guest.ask(type_, **fields)
                assert (error["type"], error["code"]) == ("error", "forbidden"), type_
            assert (await guest.ask("ping"))["type"] == "pong"
            assert (await guest.ask("watch", session=session))["type"] == "snapshot"
            assert (await guest.ask("unwatch", session=session))["type"] == "ok"
        cursors = [{"session": name, "epoch": 9, "seq": 0, "offset": 0} for name in (session, other)]
        async with open_wire(gateway.url, hello={"watch_token": link, "resume": cursors}) as guest:
            assert [found["result"] for found in guest.heard[0]["resumed"]] == ["snapshot", "gone"]
        async with open_wire(gateway.url, greet=False) as guest:
            assert (await guest.ask("hello", watch_token=link, follow="mine"))["code"] == "forbidden"
        async with _http(gateway, link) as http:
            check_problem(await http.get(f"/v1/hatches/{session}"), 401, "unauthenticated")
        assert len((await ada.ask("list"))["items"]) == 2


async def test_a_guest_neither_ends_nor_keeps_alive_what_ends_with_its_owner(tmp_path: Path) -> None:
    async with _guarded(tmp_path) as gateway, _http(gateway, ADA) as http, open_wire(gateway.url, greet=False) as guest:
        async with _wire(gateway) as ada:
            session = await ada.start(on_disconnect="cancel", grace_s=0.0)
            link = (await http.post(f"/v1/hatches/{session}/links", json={})).json()["watch_token"]
            await guest.ask("hello", watch_token=link)
            await guest.ask("watch", session=session)
            await guest.ask("unwatch", session=session)
            assert (await guest.ask("watch", session=session))["type"] == "snapshot"
            assert (await http.get(f"/v1/hatches/{session}")).json()["state"] not in ("cancelling", "cancelled")
        assert (await guest.end(session))["outcome"] == "cancelled"


async def test_a_link_ends_with_its_time_also_for_who_is_in(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__link_s=2.0) as gateway, _shared(gateway) as (_, link):
        async with open_wire(gateway.url, hello={"watch_token": link}) as guest:
            assert await guest.closed() == 4501
        async with open_wire(gateway.url, greet=False) as late:
            assert (await late.ask("hello", watch_token=link))["code"] == "unauthenticated"
            assert await late.closed() == 4501


# --- shares


async def test_connections_of_a_user_are_counted(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__connections_per_user=1) as gateway:
        async with _wire(gateway), _wire(gateway, BOB), open_wire(gateway.url, greet=False) as more:
            error = await more.ask("hello", token=ADA)
            assert (error["type"], error["code"]) == ("error", "quota_exceeded")
            assert await more.closed() == 4505
        async with _wire(gateway):
            pass


async def test_event_streams_are_connections_too(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__connections_per_user=2) as gateway, _wire(gateway) as wire:
        events = f"/v1/hatches/{await wire.start()}/events"
        async with _http(gateway, ADA) as ada, ada.stream("GET", events) as stream:
            assert stream.status_code == 200
            check_problem(await ada.get(events), 429, "quota_exceeded")
            async with open_wire(gateway.url, greet=False) as more:
                assert (await more.ask("hello", token=ADA))["code"] == "quota_exceeded"
        async with _http(gateway, ADA) as ada:
            with trio.fail_after(10):
                while (await ada.head(events)).status_code == 429:  # noqa: ASYNC110 - nobody is told that one has left
                    await trio.sleep(0.05)


async def test_connections_of_an_address_are_counted_by_what_a_trusted_proxy_says(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"access__connections_per_address": 1, "server__trusted_proxies": ["127.0.0.1"]}
    async with _guarded(tmp_path, **settings) as gateway, _wire(gateway):
        bearer = f"Bearer {BOB}"
        assert not await _welcomed(gateway, Authorization=bearer)
        assert await _welcomed(gateway, **{"Authorization": bearer, "X-Forwarded-For": "192.0.2.7"})
    async with _guarded(tmp_path, access__connections_per_address=1) as gateway, _wire(gateway):
        assert not await _welcomed(gateway, **{"Authorization": bearer, "X-Forwarded-For": "192.0.2.7"})


async def test_hatches_of_a_user_are_counted_over_websocket_and_rest(tmp_path: Path) -> None:
    async with _guarded(tmp_path, access__hatches_per_user=2) as gateway, _wire(gateway) as wire:
        first = await wire.start()
        async with _http(gateway, ADA) as ada, _http(gateway, BOB) as bob:
            assert (await ada.post("/v1/hatches", json={"prompt": "x"})).status_code == 202
            assert (await wire.ask("start", hatch={"prompt": "x"}))["code"] == "quota_exceeded"
            check_problem(await ada.post("/v1/hatches", json={"prompt": "x"}), 429, "quota_exceeded")
            assert (await bob.post("/v1/hatches", json={"prompt": "x"})).status_code == 202
            await wire.ask("cancel", session=first)
            await wire.end(first)
            assert (await ada.post("/v1/hatches", json={"prompt": "x"})).status_code == 202


async def test_without_tokens_the_one_user_has_all_of_it(tmp_path: Path) -> None:
    shares: dict[str, Any] = {
        "access__hatches_per_user": 1,
        "access__connections_per_user": 1,
        "access__connections_per_address": 1,
    }
    async with (
        running_gateway(tmp_path, **SLOW, **shares) as gateway,
        open_wire(gateway.url) as one,
        open_wire(gateway.url) as other,
    ):
        assert await one.start() != await other.start()


async def test_who_talks_too_fast_is_refused_and_then_closed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"access__messages_per_s": 0.01, "access__messages_burst": 5}
    async with running_gateway(tmp_path, **SLOW, **settings) as gateway, open_wire(gateway.url) as wire:
        await wire.send(*({"type": "ping", "id": i} for i in range(9)))
        await wire.answer(8)
        kinds = [message.get("code", message["type"]) for message in wire.heard]
        assert kinds == ["welcome", *["pong"] * 4, *["rate_limited"] * 5]
        error = wire.heard[-1]
        assert error["retryable"] is True
        assert 0 < error["retry_after_ms"] <= 100_000
        await wire.send({"type": "ping", "id": 9}, {"type": "ping", "id": 10})
        assert await wire.closed() == 4003
        assert wire.heard[-1]["code"] == "rate_limited"


async def test_hatches_that_wait_are_counted_and_those_under_way_are_not(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {"llm__slots": 1, "access__queued_per_user": 2, "hatch__queued": 3}
    async with _guarded(tmp_path, **bounds) as gateway, _wire(gateway) as wire, _http(gateway, BOB) as bob:
        written, *_ = [await wire.start() for _ in range(3)]
        assert (await wire.ask("start", hatch={"prompt": "x"}))["code"] == "quota_exceeded"
        assert (await bob.post("/v1/hatches", json={"prompt": "x"})).status_code == 202
        full = check_problem(await bob.post("/v1/hatches", json={"prompt": "x"}), 503, "overloaded")
        assert "3 hatches wait" in full["detail"]
        await wire.ask("cancel", session=written)
        await wire.end(written)
        assert (await wire.ask("start", hatch={"prompt": "x"}))["type"] == "accepted"


async def test_a_user_may_have_a_quota_of_their_own(tmp_path: Path) -> None:
    own = {"bob": {"hatches": 1, "connections": 1, "messages_per_s": 0.01, "messages_burst": 4}}
    async with _guarded(tmp_path, access__quotas=own) as gateway, _wire(gateway) as ada, _wire(gateway, BOB) as bob:
        await bob.start()
        assert (await bob.ask("start", hatch={"prompt": "x"}))["code"] == "quota_exceeded"
        assert (await bob.ask("ping"))["type"] == "pong"
        assert (await bob.ask("ping"))["code"] == "rate_limited"
        async with open_wire(gateway.url, greet=False) as more:
            assert (await more.ask("hello", token=BOB))["code"] == "quota_exceeded"
        for _ in range(3):
            await ada.start()
        assert (await ada.ask("ping"))["type"] == "pong"


async def test_no_hatch_begins_where_its_owner_has_no_room_for_the_picture(tmp_path: Path) -> None:
    own = {"ada": {"disk_bytes": 1}}
    async with (
        _guarded(tmp_path, access__quotas=own, **FAST) as gateway,
        _http(gateway, ADA) as ada,
        _wire(gateway) as wire,
        _wire(gateway, BOB) as bob,
    ):
        hatch = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA)}
        first = (await wire.ask("start", hatch=hatch, key="k"))["session"]
        await wire.end(first)
        refused = await wire.ask("start", hatch=hatch)
        assert (refused["code"], "delete agents" in refused["message"]) == ("quota_exceeded", True)
        check_problem(await ada.post("/v1/hatches", json=hatch), 429, "quota_exceeded")
        assert (await wire.ask("start", hatch=hatch, key="k"))["existing"], "what is there can be found again"
        assert (await bob.ask("start", hatch=hatch))["type"] == "accepted"
        assert (await ada.delete(f"/v1/agents/{first}")).status_code == 204
        assert (await wire.ask("start", hatch=hatch))["type"] == "accepted"


async def test_no_hatch_begins_where_the_data_directory_has_no_room_also_without_tokens(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, hatch__disk_bytes=1, **FAST) as gateway, open_wire(gateway.url) as wire:
        await wire.end(await wire.start())
        refused = await wire.ask("start", hatch={"prompt": "x"})
        assert (refused["code"], "hatch.disk_bytes" in refused["message"]) == ("quota_exceeded", True)


# --- guessing


async def test_who_guesses_tokens_is_told_to_wait_whichever_way_it_asks(tmp_path: Path) -> None:
    few: dict[str, Any] = {"access__wrong_tokens": 2, "access__wrong_tokens_per_minute": 0.1}
    trusted = {"server__trusted_proxies": ["127.0.0.1"]}
    async with _guarded(tmp_path, **few, **trusted) as gateway:
        forwarded = {"X-Forwarded-For": "192.0.2.7"}
        async with _http(gateway, "guess", **forwarded) as guesser:
            for _ in range(2):
                check_problem(await guesser.get("/v1/hatches"), 401, "unauthenticated")
            for method, path in (("GET", "/v1/hatches"), ("POST", "/v1/login"), ("GET", "/metrics")):
                answer = await guesser.request(method, path, json=None if method == "GET" else {})
                check_problem(answer, 429, "rate_limited")
                assert 0 < int(answer.headers["retry-after"]) <= 600
            forged = {"Authorization": "", "Cookie": f"{COOKIE}=x:9999999999:y"}
            check_problem(await guesser.get("/v1/hatches", headers=forged), 429, "rate_limited")
        for shown in ({"Authorization": "Bearer guess"}, {"Sec-WebSocket-Protocol": ", ".join(_offer("guess"))}):
            with pytest.raises(InvalidStatus) as refused:
                async with _handshake(gateway, forwarded | shown):
                    pass
            assert refused.value.response.status_code == 429
            assert int(refused.value.response.headers["retry-after"]) > 0
        for hello in ({"token": "guess"}, {"watch_token": "guess"}):
            async with _handshake(gateway, forwarded) as socket:
                await socket.send(msgspec.json.encode({"type": "hello", "id": 1, **hello}).decode())
                (error,) = msgspec.json.decode(await socket.recv())
                assert (error["code"], error["retryable"]) == ("rate_limited", True)
                assert 0 < error["retry_after_ms"] <= 600_000
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4003
        async with _http(gateway, ADA, **forwarded) as neighbour:  # a right token from there
            assert (await neighbour.get("/v1/hatches")).status_code == 200
            assert await _welcomed(gateway, Authorization=f"Bearer {ADA}", **forwarded)
        async with _http(gateway, "guess", **{"X-Forwarded-For": "192.0.2.8"}) as another:
            check_problem(await another.get("/v1/hatches"), 401, "unauthenticated")


async def test_coming_without_a_token_or_with_an_old_login_is_no_guess(tmp_path: Path) -> None:
    few: dict[str, Any] = {"access__wrong_tokens": 1, "access__wrong_tokens_per_minute": 0.1, "access__login_s": 1.0}
    async with _guarded(tmp_path, **few) as gateway, _http(gateway) as http:
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
