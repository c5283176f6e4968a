"""How much of a real gateway one user and one address may have, by WebSocket and by REST."""

from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.guarded import ADA, BOB, FAST, SLOW, guarded, http_client, welcomed, wire_of
from tests.helpers.problems import check_problem
from tests.helpers.wire import open_wire


async def test_connections_of_a_user_are_counted(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__connections_per_user=1) as gateway:
        async with wire_of(gateway), wire_of(gateway, BOB), open_wire(gateway.url, greet=False) as more:
            error = await more.ask("hello", token=ADA)
            assert (error["type"], error["code"]) == ("error", "quota_exceeded")
            assert await more.closed() == 4505
        async with wire_of(gateway):
            pass


async def test_event_streams_are_connections_too(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__connections_per_user=2) as gateway, wire_of(gateway) as wire:
        events = f"/v1/hatches/{await wire.start()}/events"
        async with http_client(gateway, ADA) as ada, ada.stream("GET", events) as stream:
            assert stream.status_code == 200
            check_problem(await ada.get(events), 429, "quota_exceeded")
            async with open_wire(gateway.url, greet=False) as more:
                assert (await more.ask("hello", token=ADA))["code"] == "quota_exceeded"
        async with http_client(gateway, ADA) as ada:
            with trio.fail_after(10):
                while (await ada.head(events)).status_code == 429:  # noqa: ASYNC110 - nobody is told that one has left
                    await trio.sleep(0.05)


async def test_connections_of_an_address_are_counted_by_what_a_trusted_proxy_says(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"access__connections_per_address": 1, "server__trusted_proxies": ["127.0.0.1"]}
    async with guarded(tmp_path, **settings) as gateway, wire_of(gateway):
        bearer = f"Bearer {BOB}"
        assert not await welcomed(gateway, Authorization=bearer)
        assert await welcomed(gateway, **{"Authorization": bearer, "X-Forwarded-For": "192.0.2.7"})
    async with guarded(tmp_path, access__connections_per_address=1) as gateway, wire_of(gateway):
        assert not await welcomed(gateway, **{"Authorization": bearer, "X-Forwarded-For": "192.0.2.7"})


async def test_hatches_of_a_user_are_counted_over_websocket_and_rest(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__hatches_per_user=2) as gateway, wire_of(gateway) as wire:
        first = await wire.start()
        async with http_client(gateway, ADA) as ada, http_client(gateway, BOB) as bob:
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
    async with guarded(tmp_path, **bounds) as gateway, wire_of(gateway) as wire, http_client(gateway, BOB) as bob:
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
    async with guarded(tmp_path, access__quotas=own) as gateway, wire_of(gateway) as ada, wire_of(gateway, BOB) as bob:
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
        guarded(tmp_path, access__quotas=own, **FAST) as gateway,
        http_client(gateway, ADA) as ada,
        wire_of(gateway) as wire,
        wire_of(gateway, BOB) as bob,
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
