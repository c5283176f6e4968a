"""The dialogue over a real WebSocket: the handshake, `hello`, ids and frames, starts, and the end of the gateway."""

from pathlib import Path

import httpx2
import msgspec
import pytest
import trio
import trio_websocket

from gateway.serve import Gateway
from protocol.codec import Codec
from protocol.errors import NotFound
from protocol.view import SessionView
from tests.helpers.contract import check_messages
from tests.helpers.dialogues import ALL_WAYS, SLOW_DRAWING, UPGRADE, in_state, sole
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.wire import open_wire

# --- the handshake and hello


@ALL_WAYS
async def test_a_whole_hatch_with_every_library_and_codec(gateway: Gateway, library: str, codec: Codec) -> None:
    async with open_wire(gateway.url, codec, library=library) as wire:
        session = await wire.start("a fox that mends clocks")
        end = await wire.end(session)
        assert end["outcome"] == "done"
        check_messages(wire.typed(), session)
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
            picture = await http.get(sole(wire.of(session, "artifact"))["url"])
    assert picture.content.startswith(b"\x89PNG")


async def test_welcome_says_all_that_the_contract_lists(gateway: Gateway) -> None:
    async with open_wire(gateway.url, greet=False) as wire:
        welcome = await wire.ask("hello", client="a test", id=0)
    assert set(welcome) == {
        "type", "id", "connection", "server", "version", "engines", "heartbeat_ms", "limits", "resumed",
    }  # fmt: skip
    assert welcome["type"] == "welcome"
    assert welcome["version"] == 1
    assert welcome["server"].startswith("hatchery/")
    assert welcome["engines"] == {"llm": "sim", "image": "sim"}
    assert welcome["heartbeat_ms"] == 20_000
    assert set(welcome["limits"]) == {"message_bytes", "prompt_chars", "pixels", "steps"}
    assert welcome["resumed"] == []


@pytest.mark.parametrize("library", ["trio-websocket", "websockets"])
async def test_without_a_subprotocol_it_is_json(gateway: Gateway, library: str) -> None:
    async with open_wire(gateway.url, Codec.JSON, library=library, subprotocols=[]) as wire:
        assert (await wire.ask("ping"))["type"] == "pong"


async def test_the_first_known_subprotocol_is_chosen(gateway: Gateway) -> None:
    offered = ["soap", "hatch.v9.json", "hatch.v1.msgpack", "hatch.v1.json"]
    async with open_wire(gateway.url, Codec.MSGPACK, subprotocols=offered) as wire:
        assert (await wire.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/ws", {"Sec-WebSocket-Protocol": "soap, hatch.v9.json"}, 400, "bad_message"),
        ("/v1/ws", {"Origin": "https://evil.example"}, 403, "forbidden"),
        ("/v1/ws", {"Host": "evil.example"}, 400, "bad_message"),
        ("/v1/other", {}, 404, "not_found"),
    ],
)
async def test_unknown_subprotocols_foreign_pages_and_other_paths_are_refused(
    gateway: Gateway, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        answer = await http.get(path, headers=UPGRADE | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_gateway_s_own_page_may_connect(gateway: Gateway) -> None:
    address = gateway.url.replace("http", "ws") + "/v1/ws"
    origin = [(b"Origin", gateway.url.encode())]
    async with trio_websocket.open_websocket_url(address, extra_headers=origin) as socket:
        await socket.send_message('{"type":"hello","id":1}')
        assert msgspec.json.decode(await socket.get_message())[0]["type"] == "welcome"


async def test_nothing_is_done_before_hello_and_hello_still_may_come(gateway: Gateway) -> None:
    async with open_wire(gateway.url, greet=False) as wire:
        for type_, fields in (("start", {"hatch": {"prompt": "a fox"}}), ("ping", {}), ("list", {})):
            error = await wire.ask(type_, **fields)
            assert (error["type"], error["code"]) == ("error", "bad_message")
        assert (await wire.ask("hello"))["type"] == "welcome"
        assert (await wire.ask("list"))["items"] == []


async def test_a_hello_that_came_in_time_may_take_longer_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path, server__hello_s=0.1) as gateway:

        async def look_long(_owner: str, _session: str) -> SessionView:
            await trio.sleep(0.3)
            raise NotFound("no such session")

        monkeypatch.setattr(gateway.services.sessions, "view", look_long)
        async with open_wire(gateway.url, greet=False) as wire:
            cursor = {"session": "0" * 20, "epoch": 1, "seq": 1, "offset": 0}
            welcome = await wire.ask("hello", resume=[cursor])
            assert welcome["resumed"] == [{"session": "0" * 20, "result": "gone"}]
            assert (await wire.ask("ping"))["type"] == "pong"


async def test_no_hello_in_time_closes_with_4502(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, server__hello_s=0.1) as gateway:
        async with open_wire(gateway.url, greet=False) as silent, open_wire(gateway.url, greet=False) as chatty:
            await chatty.send({"type": "ping", "id": 1})
            assert await silent.closed() == 4502
            assert await chatty.closed() == 4502
        async with open_wire(gateway.url) as wire:
            await trio.sleep(0.2)
            assert (await wire.ask("ping"))["type"] == "pong"


async def test_a_second_hello_is_an_error_and_changes_nothing(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        error = await wire.ask("hello")
        assert (error["type"], error["code"]) == ("error", "bad_message")
        assert (await wire.ask("ping"))["type"] == "pong"


async def test_what_is_not_known_is_ignored(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        pong = await wire.ask("ping", flavour="mint", nested={"deep": [1, 2]})
        assert pong["type"] == "pong"


# --- ids, frames


@ALL_WAYS
@pytest.mark.parametrize("id_", ["", "ping-1", "🦊" * 50, 0, -1, 7, 2**53 - 1])
async def test_ids_come_back_as_they_were(gateway: Gateway, library: str, codec: Codec, id_: str | int) -> None:
    async with open_wire(gateway.url, codec, library=library) as wire:
        await wire.send({"type": "ping", "id": id_})
        pong = await wire.until(lambda message: message["type"] in ("pong", "error"))
        assert pong == {"type": "pong", "id": id_}
        assert type(pong["id"]) is type(id_)


@ALL_WAYS
async def test_an_array_of_commands_is_answered_in_order(gateway: Gateway, library: str, codec: Codec) -> None:
    async with open_wire(gateway.url, codec, library=library, greet=False) as wire:
        await wire.send(
            {"type": "hello", "id": 1},
            {"type": "ping", "id": 2},
            {"type": "dance", "id": 3},
            {"type": "start", "id": 4, "hatch": {"prompt": "a fox"}, "watch": False},
            {"type": "list", "id": 5},
            {"type": "watch", "id": 6, "session": "nobody"},
        )
        await wire.answer(6)
        answers = [(message["id"], message["type"], message.get("code")) for message in wire.heard if "id" in message]
    assert answers == [
        (1, "welcome", None),
        (2, "pong", None),
        (3, "error", "unknown_type"),
        (4, "accepted", None),
        (5, "sessions", None),
        (6, "error", "not_found"),
    ]


async def test_an_empty_array_is_nothing(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        await wire.send_raw("[]")
        assert (await wire.ask("ping"))["type"] == "pong"
        assert [message["type"] for message in wire.heard] == ["welcome", "pong"]


# --- start


async def test_accepted_says_all_and_the_snapshot_comes_next(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire:
        accepted = await wire.ask("start", hatch={"prompt": "a fox"}, id=9)
        assert set(accepted) == {"type", "id", "session", "epoch", "existing", "state"}
        assert (accepted["epoch"], accepted["existing"]) == (1, False)
        await in_state(wire, accepted["session"], "drawing")
        mentions = [message for message in wire.heard if message.get("session") == accepted["session"]]
        assert [message["type"] for message in mentions[:2]] == ["accepted", "snapshot"]
        snapshot = mentions[1]
        assert {"session", "epoch", "seq", "offset", "state", "attempt", "prompt", "persona", "artifacts"} <= set(
            snapshot
        )
        assert "id" not in snapshot
        assert "end" not in snapshot
        assert snapshot["prompt"] == "a fox"
        assert [message["type"] for message in mentions].count("snapshot") == 1


async def test_a_start_without_watch_says_nothing_more(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        session = await wire.start(watch=False)
        async with open_wire(gateway.url) as other:
            await other.ask("watch", session=session)
            await other.end(session)
        await wire.ask("ping")
        assert wire.of(session) == []


async def test_a_redraw_begins_at_33_percent(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        hatch = {"prompt": "again", "persona": msgspec.to_builtins(PERSONA), "image": {"steps": 3}}
        session = (await wire.ask("start", hatch=hatch))["session"]
        end = await wire.end(session)
        assert (end["outcome"], end["receipt"]["llm"], end["receipt"]["steps"]) == ("done", "none", 3)
        assert min(message["percent"] for message in wire.of(session, "progress")) >= 33
        assert not wire.of(session, "text")
        check_messages(wire.typed(), session)


async def test_a_repeated_start_finds_the_first_one_over_websocket_and_rest(drawing: Gateway) -> None:
    hatch = {"prompt": "a fox", "image": {"steps": 4}}
    async with (
        open_wire(drawing.url) as wire,
        open_wire(drawing.url, Codec.MSGPACK) as other,
        httpx2.AsyncClient(base_url=drawing.url, trust_env=False) as http,
    ):
        first = await wire.ask("start", key="k", hatch=hatch)
        again = await wire.ask("start", key="k", hatch={"image": {"steps": 4, "seed": None}, "prompt": "a fox"})
        elsewhere = await other.ask("start", key="k", hatch=hatch)
        rest = await http.post("/v1/hatches", json=hatch, headers={"Idempotency-Key": "k"})
        assert (first["existing"], again["existing"], elsewhere["existing"]) == (False, True, True)
        assert rest.status_code == 200
        assert {first["session"], again["session"], elsewhere["session"], rest.json()["session"]} == {first["session"]}
        await in_state(other, first["session"], "drawing")  # it is watched, too

        conflict = await wire.ask("start", key="k", hatch={"prompt": "an owl"})
        assert (conflict["type"], conflict["code"], conflict["field"]) == ("error", "key_conflict", "key")
        assert conflict["retryable"] is False
        refused = await http.post("/v1/hatches", json={"prompt": "an owl"}, headers={"Idempotency-Key": "k"})
        assert (refused.status_code, refused.json()["code"]) == (409, "key_conflict")

        from_rest = await http.post("/v1/hatches", json=hatch, headers={"Idempotency-Key": "r"})
        assert from_rest.status_code == 202
        found = await wire.ask("start", key="r", hatch=hatch)
        assert (found["existing"], found["session"]) == (True, from_rest.json()["session"])


# --- the end of the gateway


async def test_a_gateway_that_stops_says_goodbye_and_how_everything_ended(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        stop, ready = trio.Event(), trio.Event()
        urls: list[str] = []

        async def serve() -> None:
            async with running_gateway(tmp_path, **SLOW_DRAWING) as gateway:
                urls.append(gateway.url)
                ready.set()
                await stop.wait()

        nursery.start_soon(serve)
        await ready.wait()
        async with open_wire(urls[0]) as wire, open_wire(urls[0]) as idle:
            session = await wire.start()
            await in_state(wire, session, "drawing")
            stop.set()
            assert (await wire.end(session))["outcome"] == "cancelled"
            assert await wire.closed() in (1001, 1012)
            assert await idle.closed() in (1001, 1012)
            for client in (wire, idle):
                notice = sole([message for message in client.heard if message["type"] == "going_away"])
                assert notice["deadline_ms"] > 0
                assert len(notice["reconnect_after_ms"]) == 2
            check_messages(wire.typed(), session)
