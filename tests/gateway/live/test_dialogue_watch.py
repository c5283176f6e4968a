"""Watching over a real WebSocket: snapshots, lists, followers, resume without a hole, and many at once."""

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio

from gateway.serve import Gateway
from protocol.codec import Codec
from protocol.commands import HatchRequest
from tests.helpers.contract import check_messages
from tests.helpers.dialogues import ALL_WAYS, FAST, in_state
from tests.helpers.gateways import check_session, listening_client, running_gateway
from tests.helpers.wire import WAYS, Message, Wire, open_wire


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
