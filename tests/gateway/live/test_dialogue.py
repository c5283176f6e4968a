from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
import trio_websocket
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from gateway.serve import Gateway
from protocol.codec import Codec
from protocol.commands import HatchRequest
from tests.helpers.contract import check_messages
from tests.helpers.gateways import PERSONA, check_session, listening_client, running_gateway
from tests.helpers.wire import WAYS, Message, Wire, open_wire

FAST: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.01, "llm__slots": 100, "image__slots": 100}
SLOW_DRAWING: dict[str, Any] = FAST | {"sim__step_s": 30}
SLOW_WRITING: dict[str, Any] = FAST | {"sim__tokens_per_s": 1}
ALL_WAYS = pytest.mark.parametrize(("library", "codec"), WAYS, ids=lambda value: getattr(value, "name", value))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path, **FAST) as gateway:
        yield gateway


@pytest.fixture
async def drawing(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose hatches never end by themselves."""
    async with running_gateway(tmp_path, **SLOW_DRAWING) as gateway:
        yield gateway


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def in_state(wire: Wire, session: str, state: str) -> None:
    await wire.until(lambda message: message.get("session") == session and message.get("state") == state)


def sole(messages: list[Message]) -> Message:
    (message,) = messages
    return message


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


# --- cancel


@pytest.mark.parametrize("settings", [SLOW_WRITING, SLOW_DRAWING], ids=["writing", "drawing"])
async def test_a_cancel_is_answered_then_shown_then_ended(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with running_gateway(tmp_path, **settings) as gateway, open_wire(gateway.url) as wire:
        session = await wire.start()
        await in_state(wire, session, "writing" if settings is SLOW_WRITING else "drawing")
        ok = await wire.ask("cancel", session=session, reason="enough")
        assert set(ok) == {"type", "id", "session", "epoch", "seq", "offset", "state"}
        assert (ok["type"], ok["session"]) == ("ok", session)
        assert ok["state"] in ("cancelling", "cancelled")
        end = await wire.end(session)
        assert end["outcome"] == "cancelled"
        assert end["receipt"]["cancel_latency_ms"] >= 0
        cancelling = sole([message for message in wire.of(session, "state") if message["state"] == "cancelling"])
        assert cancelling["reason"] == "enough"
        check_messages(wire.typed(), session)


async def test_cancelling_twice_late_and_from_elsewhere_is_ok(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire, open_wire(drawing.url) as other:
        session = await wire.start(key="k")
        await in_state(wire, session, "drawing")
        twice = [
            {"type": "cancel", "id": 1, "session": session},
            {"type": "cancel", "id": 2, "key": "k"},
        ]
        await other.send(*twice)
        assert [(await other.answer(id_))["type"] for id_ in (1, 2)] == ["ok", "ok"]
        assert (await wire.end(session))["outcome"] == "cancelled"
        late = await other.ask("cancel", session=session)
        assert (late["type"], late["state"]) == ("ok", "cancelled")
        check_messages(wire.typed(), session)


async def test_cancels_in_one_frame_do_not_wait_for_each_other(
    drawing: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, entered, together = drawing.services.sessions, [], trio.Event()
    cancel = sessions.cancel

    async def cancel_together(owner: str, *, session: str, reason: str) -> Any:
        entered.append(session)
        if len(entered) == 3:
            together.set()
        await together.wait()
        return await cancel(owner, session=session, reason=reason)

    monkeypatch.setattr(sessions, "cancel", cancel_together)
    async with open_wire(drawing.url) as wire:
        hatches = [await wire.start("a fox") for _ in range(3)]
        with trio.fail_after(10):
            await wire.send(*({"type": "cancel", "id": session, "session": session} for session in hatches))
            for session in hatches:
                assert (await wire.end(session))["outcome"] == "cancelled"


async def test_a_cancel_after_a_good_end_leaves_it_good(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        session = await wire.start(key="k")
        await wire.end(session)
        for named in ({"session": session}, {"key": "k"}):
            assert (await wire.ask("cancel", **named))["state"] == "done"


async def test_a_cancel_by_key_may_come_before_its_start(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire, open_wire(drawing.url) as other:
        ok = await other.ask("cancel", key="k")
        assert set(ok) == {"type", "id"}
        accepted = await wire.ask("start", key="k", hatch={"prompt": "a fox"})
        assert (accepted["type"], accepted["existing"]) == ("accepted", False)
        assert (await wire.end(accepted["session"]))["outcome"] == "cancelled"
        check_messages(wire.typed(), accepted["session"])


@pytest.mark.parametrize("named", [{}, {"session": "s", "key": "k"}])
async def test_a_cancel_names_one_thing(gateway: Gateway, named: dict[str, str]) -> None:
    async with open_wire(gateway.url) as wire:
        error = await wire.ask("cancel", **named)
        assert (error["code"], error["field"]) == ("invalid", "session")


async def test_unknown_sessions_are_not_found(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        for type_ in ("cancel", "watch", "unwatch"):
            error = await wire.ask(type_, session="nobody")
            assert set(error) == {"type", "id", "session", "code", "message", "retryable"}
            assert (error["code"], error["session"], error["retryable"]) == ("not_found", "nobody", False)


# --- watch, unwatch, list


@ALL_WAYS
async def test_watch_is_answered_by_a_snapshot_or_by_ok_when_current(
    drawing: Gateway, library: str, codec: Codec
) -> None:
    async with open_wire(drawing.url) as starter, open_wire(drawing.url, codec, library=library) as wire:
        session = await starter.start()
        await in_state(starter, session, "drawing")
        snapshot = await wire.ask("watch", session=session)
        assert snapshot["type"] == "snapshot"
        assert snapshot["persona"]["name"]
        cursor = {name: snapshot[name] for name in ("epoch", "seq", "offset")}
        ok = await wire.ask("watch", session=session, **{"from": cursor})
        assert ok["type"] == "ok"
        assert {name: ok[name] for name in cursor} == cursor
        stale = await wire.ask("watch", session=session, **{"from": cursor | {"seq": cursor["seq"] - 1}})
        assert stale["type"] == "snapshot"
        await wire.ask("cancel", session=session)
        assert (await wire.end(session))["outcome"] == "cancelled"
        assert [message["type"] for message in wire.of(session, "snapshot", "ok")] == [
            "snapshot", "ok", "snapshot", "ok",
        ]  # fmt: skip
        check_messages(wire.typed(), session)


async def test_a_session_that_has_ended_can_be_watched_again_and_again(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        session = await wire.start()
        await wire.end(session)
        for _ in range(3):
            snapshot = await wire.ask("watch", session=session)
            assert snapshot["end"]["outcome"] == "done"
            assert snapshot["artifacts"][0]["url"]
            cursor = {name: snapshot[name] for name in ("epoch", "seq", "offset")}
            assert (await wire.ask("watch", session=session, **{"from": cursor}))["type"] == "ok"


async def test_unwatch_is_the_last_that_is_heard(tmp_path: Path) -> None:
    settings: dict[str, Any] = FAST | {"sim__tokens_per_s": 100}
    async with (
        running_gateway(tmp_path, **settings) as gateway,
        open_wire(gateway.url) as wire,
        open_wire(gateway.url) as other,
    ):
        session = await wire.start()
        assert (await other.ask("watch", session=session))["type"] == "snapshot"
        await wire.until(lambda message: message["type"] == "text")
        ok = await wire.ask("unwatch", session=session)
        assert (ok["type"], ok["session"]) == ("ok", session)
        told = len(wire.of(session))
        assert (await other.end(session))["outcome"] == "done"
        await wire.ask("ping")
        assert len(wire.of(session)) == told
        check_messages(other.typed(), session)
        assert (await wire.ask("unwatch", session=session))["type"] == "ok"


async def test_sessions_are_listed_newest_first_page_by_page(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire:
        started = [await wire.start(f"number {number}") for number in range(7)]
        for session in started:
            await in_state(wire, session, "drawing")
        await wire.ask("cancel", session=started[0])
        await wire.end(started[0])
        pages: list[list[Message]] = []
        before: dict[str, str] = {}
        while True:
            page = await wire.ask("list", limit=3, **before)
            pages.append(page["items"])
            if "before" not in page:
                break
            before = {"before": page["before"]}
        assert [len(items) for items in pages] == [3, 3, 1]
        items = [item for page in pages for item in page]
        assert [item["session"] for item in items] == started[::-1]
        assert {"session", "state", "percent", "created_at_ms", "prompt"} <= set(items[0])
        assert items[0]["prompt"] == "number 6"
        drawn = await wire.ask("list", states=["drawing"])
        assert [item["session"] for item in drawn["items"]] == started[:0:-1]
        assert (await wire.ask("list", states=["done"]))["items"] == []
        error = await wire.ask("list", before="yesterday")
        assert (error["code"], error["field"]) == ("invalid", "before")


async def test_max_hz_throttles_progress_only(tmp_path: Path) -> None:
    settings: dict[str, Any] = FAST | {"sim__tokens_per_s": 2000, "sim__steps": 100, "sim__step_s": 0.02}
    async with running_gateway(tmp_path, **settings) as gateway:
        async with open_wire(gateway.url) as calm, open_wire(gateway.url) as keen:
            began = trio.current_time()
            session = await calm.start(watch={"max_hz": 2})
            await keen.ask("watch", session=session)
            for wire in (calm, keen):
                assert (await wire.end(session))["outcome"] == "done"
                check_messages(wire.typed(), session)
            seconds = trio.current_time() - began
        assert len(calm.of(session, "progress")) <= 2 * seconds + 3
        assert len(keen.of(session, "progress")) > 4 * len(calm.of(session, "progress"))
        everything, later = (wire.of(session, "state", "persona", "artifact", "end") for wire in (calm, keen))
        assert later == everything[-len(later) :]


async def test_followers_are_told_what_is_started_elsewhere(drawing: Gateway) -> None:
    async with (
        open_wire(drawing.url, hello={"follow": "mine"}) as follower,
        open_wire(drawing.url) as bystander,
        httpx2.AsyncClient(base_url=drawing.url, trust_env=False) as http,
    ):
        by_rest = (await http.post("/v1/hatches", json={"prompt": "a fox"})).json()["session"]
        by_wire = await bystander.start("an owl", watch=False)
        own = await follower.start("a newt")
        unwatched = await follower.start("a quiet newt", watch=False)
        for session in (by_rest, by_wire, own):
            await in_state(follower, session, "drawing")
            assert follower.of(session)[0]["type"] == "snapshot"
            assert len(follower.of(session, "snapshot")) == 1
        assert follower.of(unwatched) == []
        assert bystander.of(own) == bystander.of(by_rest) == []
        mentions = [message["type"] for message in follower.heard if message.get("session") == own]
        assert mentions[:2] == ["accepted", "snapshot"]


# --- resume


async def test_resume_says_what_became_of_each_cursor(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire:
        current, behind = [await wire.start() for _ in range(2)]
        cursors = []
        for session in (current, behind):
            await in_state(wire, session, "drawing")
            snapshot = await wire.ask("watch", session=session)
            cursors.append({name: snapshot[name] for name in ("session", "epoch", "seq", "offset")})
    cursors[1] = cursors[1] | {"seq": 0}
    cursors.append({"session": "nobody", "epoch": 1, "seq": 0, "offset": 0})
    async with open_wire(drawing.url, greet=False) as wire:
        welcome = await wire.ask("hello", resume=cursors)
        assert welcome["resumed"] == [
            {"session": current, "result": "current"},
            {"session": behind, "result": "snapshot"},
            {"session": "nobody", "result": "gone"},
        ]
        for session in (current, behind):
            await wire.ask("cancel", session=session)
            await wire.end(session)
        assert wire.heard[0]["type"] == "welcome"
        assert wire.of(current)[0]["type"] == "state"
        assert wire.of(current, "state")[0]["seq"] == cursors[0]["seq"] + 1
        assert wire.of(behind)[0]["type"] == "snapshot"
        check_messages(wire.typed(), behind)


class Memory:
    """What a client that reconnects keeps of one session."""

    def __init__(self) -> None:
        self.epoch = self.seq = self.offset = 0
        self.persona: dict[str, Any] = {}
        self.final: dict[str, Any] | None = None
        self.seqs: list[int] = []
        self.end: Message | None = None

    def take(self, message: Message) -> None:
        match message["type"]:
            case "snapshot":
                self.epoch, self.seq, self.offset = message["epoch"], message["seq"], message["offset"]
                self.persona = msgspec.json.decode(msgspec.json.encode(message["persona"]))
                self.end = message.get("end")
            case "text":
                assert message["offset"] == self.offset
                self.offset += len(message["delta"])
                name, _, index = message["path"][1:].partition("/")
                if index:
                    items = self.persona.setdefault(name, [])
                    items += [""] * (int(index) + 1 - len(items))
                    items[int(index)] += message["delta"]
                else:
                    self.persona[name] = self.persona.get(name, "") + message["delta"]
            case "state" | "persona" | "artifact" | "end":
                assert message["seq"] == self.seq + 1
                self.seq = message["seq"]
                if message["type"] == "persona":
                    assert message["persona"] == self.persona
                    self.final = message["persona"]
                if message["type"] == "end":
                    self.end = message


@pytest.mark.parametrize("codec", Codec)
async def test_reconnecting_in_mid_hatch_leaves_no_hole_and_repeats_nothing(tmp_path: Path, codec: Codec) -> None:
    settings: dict[str, Any] = FAST | {"sim__tokens_per_s": 100, "sim__step_s": 0.1}
    memories: dict[str, Memory] = {}
    results: list[str] = []
    async with running_gateway(tmp_path, **settings) as gateway:
        async with open_wire(gateway.url, codec) as wire:
            for number in range(20):
                memories[await wire.start(f"creature {number}")] = Memory()
            await trio.sleep(0.3)
        _remember(memories, wire)
        while not all(memory.end for memory in memories.values()):
            resume = [
                {"session": session, "epoch": memory.epoch, "seq": memory.seq, "offset": memory.offset}
                for session, memory in memories.items()
                if memory.end is None
            ]
            async with open_wire(gateway.url, codec, greet=False) as wire:
                welcome = await wire.ask("hello", resume=resume)
                results += [resumed["result"] for resumed in welcome["resumed"]]
                await trio.sleep(0.15)
            _remember(memories, wire)
        assert {"snapshot"} <= set(results) <= {"snapshot", "current"}
        async with open_wire(gateway.url, codec) as wire:
            for session, memory in memories.items():
                snapshot = await wire.ask("watch", session=session)
                assert memory.persona == snapshot["persona"]
                assert memory.end is not None
                assert memory.end["outcome"] == "done"


def _remember(memories: dict[str, Memory], wire: Wire) -> None:
    for message in wire.heard:
        if message.get("session") in memories and "id" not in message:
            memories[message["session"]].take(message)


# --- many


async def test_one_connection_runs_fifty_hatches_at_once(gateway: Gateway) -> None:
    async with listening_client(gateway) as listener:
        sessions = []
        for number in range(50):
            accepted = await listener.start(HatchRequest(prompt=f"creature {number}"), id=100 + number)
            sessions.append(accepted.session)
        assert len(set(sessions)) == 50
        for session in sessions:
            assert (await listener.end(session)).outcome == "done"
            check_session(listener, session)


async def test_twenty_watchers_of_one_hatch_are_told_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = FAST | {"sim__tokens_per_s": 200, "sim__step_s": 0.05}
    async with running_gateway(tmp_path, **settings) as gateway, open_wire(gateway.url) as starter:
        session = await starter.start()
        heard: list[list[Message]] = []

        async def watch(number: int) -> None:
            library, codec = WAYS[number % len(WAYS)]
            async with open_wire(gateway.url, codec, library=library) as wire:
                await wire.ask("watch", session=session)
                await wire.end(session)
                check_messages(wire.typed(), session)
                heard.append(wire.of(session))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(watch, number)
        assert len(heard) == 20
        reliable = [
            [_unsigned(message) for message in events if "seq" in message and message["type"] != "snapshot"]
            for events in heard
        ]
        longest = max(reliable, key=len)
        for events in reliable:
            assert events == longest[len(longest) - len(events) :]
        assert len(longest) >= 4
        finals = [events[-1] for events in heard]
        assert all(final == finals[0] for final in finals)


def _unsigned(message: Message) -> Message:
    return {name: value for name, value in message.items() if name != "url"}


# --- heartbeats


@ALL_WAYS
async def test_ping_is_answered_by_pong(gateway: Gateway, library: str, codec: Codec) -> None:
    async with open_wire(gateway.url, codec, library=library) as wire:
        for id_ in (1, "two"):
            assert await wire.ask("ping", id=id_) == {"type": "pong", "id": id_}


class RawClient:
    """Speaks frames by hand, so that it can keep silent."""

    def __init__(self, stream: trio.SocketStream, url: str) -> None:
        self._stream = stream
        self.protocol = ClientProtocol(parse_uri(url.replace("http", "ws") + "/v1/ws"), max_size=None)

    async def connect(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        assert isinstance((await self.events())[0], Response)

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self._stream.send_all(data)

    async def events(self) -> list[Any]:
        while True:
            self.protocol.receive_data(await self._stream.receive_some())
            if events := self.protocol.events_received():
                return list(events)

    async def frame(self, opcode: Opcode) -> Frame:
        while True:
            for event in await self.events():
                if event.opcode is opcode:
                    assert isinstance(event, Frame)
                    return event


@asynccontextmanager
async def raw_client(gateway: Gateway) -> AsyncIterator[RawClient]:
    host, port = gateway.url.removeprefix("http://").rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        client = RawClient(stream, gateway.url)
        await client.connect()
        yield client


async def test_a_silent_peer_is_dropped_with_4001_and_a_living_one_is_not(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, server__heartbeat_s=0.2) as gateway,
        open_wire(gateway.url) as alive,
        raw_client(gateway) as silent,
    ):
        silent.protocol.send_text(b'{"type":"hello","id":1}')
        await silent.flush()
        began = trio.current_time()
        await silent.frame(Opcode.PING)  # and no pong
        close = await silent.frame(Opcode.CLOSE)
        assert int.from_bytes(close.data[:2], "big") == 4001
        assert 0.3 < trio.current_time() - began < 2
        assert (await alive.ask("ping"))["type"] == "pong"


async def test_messages_are_a_sign_of_life_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, server__heartbeat_s=0.2) as gateway, raw_client(gateway) as browser:
        browser.protocol.send_text(b'{"type":"hello","id":1}')
        for id_ in range(10):
            await trio.sleep(0.1)
            browser.protocol.send_text(msgspec.json.encode({"type": "ping", "id": id_}))
            await browser.flush()  # nothing is read, so no protocol ping is answered
        while (event := (await browser.events())[-1]).opcode is not Opcode.TEXT:
            assert event.opcode is Opcode.PING


async def test_a_protocol_ping_is_answered_with_its_payload(gateway: Gateway) -> None:
    async with raw_client(gateway) as client:
        client.protocol.send_ping(b"still there?")
        await client.flush()
        assert (await client.frame(Opcode.PONG)).data == b"still there?"


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
