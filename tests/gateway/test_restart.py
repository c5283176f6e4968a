"""The real `hatchery serve`, stopped or killed at every moment of a hatch, and started again on the same directory."""

import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import pytest
import trio

from actors.artifacts import ArtifactStore
from actors.llm.estimate import MIN_LENGTHS
from actors.store.store import Store, StoreSettings, open_store
from protocol import mail
from protocol.commands import HatchRequest
from protocol.events import PersonaReady
from protocol.journal import Entry
from protocol.lifecycle import Lifecycle
from tests.helpers.children import Child
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Ledger, Site, stop
from tests.helpers.fakes import ENGINES, PERSONA, png, record_of
from tests.helpers.gateways import listening_client, running_gateway
from tests.helpers.wire import Message, open_wire

OWNER: Final = "local"  # everybody, where there are no tokens
WRITTEN: Final = mail.PersonaWritten(persona=PERSONA)
STRANGE: Final = {"session": "0" * 20, "epoch": 1, "seq": 0, "offset": 0}
ONE_SLOT: Final = {"HATCHERY_LLM_SLOTS": "1", "HATCHERY_IMAGE_SLOTS": "1", "HATCHERY_SERVER_DRAIN_S": "0"}
SLOW_WRITER: Final = {"HATCHERY_SIM_TOKENS_PER_S": "10"}
SLOW_PAINTER: Final = {"HATCHERY_SIM_TOKENS_PER_S": "2000", "HATCHERY_SIM_STEP_S": "0.8"}
FAST: Final = {"HATCHERY_SIM_TOKENS_PER_S": "2000", "HATCHERY_SIM_STEP_S": "0.01"}

Heard = Callable[[Message], bool]


def says(type_: str, **fields: Any) -> Heard:
    """A message of this type with these fields, whatever else is in it."""
    return lambda message: message["type"] == type_ and all(message.get(k) == v for k, v in fields.items())


# How slow the gateway is, and what the first and the second of two hatches say last before it goes.
MOMENTS: Final = {
    "writing and queued": (
        SLOW_WRITER,
        (lambda message: message["type"] == "text" and message["offset"] > 20, says("snapshot", state="queued")),
    ),
    "drawing and waiting": (
        SLOW_PAINTER,
        (says("progress", step=1), says("progress", stage="waiting", queue_position=1)),
    ),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Where a gateway with one slot for each engine works."""
    return Site(tmp_path, ONE_SLOT, "--llm", "sim", "--image", "sim")


@asynccontextmanager
async def living(site: Site, environ: dict[str, str] = FAST) -> AsyncIterator[Child]:
    """One life of a gateway; killed at the end of the block, unless it has ended."""
    async with trio.open_nursery() as nursery:
        child: Child = await nursery.start(site.run, environ)
        yield child
        if child.process.returncode is None:
            await stop(child, signal.SIGKILL)


@asynccontextmanager
async def kept(site: Site) -> AsyncIterator[Store]:
    """The store, while no gateway has it."""
    async with open_store(site.data, lambda *_: None, settings=StoreSettings(), now_s=lambda: 0.0) as store:
        yield store


async def leave_two(site: Site, moment: str, number: signal.Signals, ledger: Ledger) -> list[str]:
    """Start two hatches, have the gateway go at the given moment of both; returns them."""
    pace, heard = MOMENTS[moment]
    async with living(site, pace) as child, open_wire(site.url) as wire:
        for key in ("a", "b"):
            await wire.start(f"a fox named {key}", key=key)
        sessions: list[str] = [message["session"] for message in wire.heard if message["type"] == "accepted"]
        for session, says_last in zip(sessions, heard, strict=True):
            await wire.until(lambda m: m.get("session") == session and says_last(m))  # noqa: B023 - awaited here
        await stop(child, number)
        await wire.closed()
        ledger.note(wire.typed())
    return sessions


async def see_ends(site: Site, ledger: Ledger, sessions: Iterable[str], cursors: Sequence[Message]) -> Message:
    """Come back with cursors and stay until all have ended; returns the welcome."""
    async with open_wire(site.url, greet=False) as wire:
        welcome = await wire.ask("hello", resume=cursors)
        for session in sessions:
            await wire.end(session)
        ledger.note(wire.typed())
    return welcome


# --- killed


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_killed_gateway_goes_on_with_its_hatches(site: Site, moment: str) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        sessions = await leave_two(site, moment, signal.SIGKILL, ledger)
        cursors = ledger.cursors(sessions)
        before = len(ledger.heard)
        async with living(site), open_wire(site.url) as idle:
            welcome = await see_ends(site, ledger, sessions, cursors)
            assert await again(site, "a", "b") == [True, True], "nothing is hatched twice"
            assert (await idle.ask("ping"))["type"] == "pong"
            assert [m["type"] for m in idle.heard] == ["welcome", "pong"], "who has nothing to resume is told nothing"
    snapshots = [ledger.snapshot(session, since=before) for session in sessions]
    for session, snapshot, resumed in zip(sessions, snapshots, welcome["resumed"], strict=True):
        if (moment, session) == ("writing and queued", sessions[1]):  # nothing reliable had been said
            assert snapshot is None or (snapshot.epoch, snapshot.attempt) == (1, 1)
        else:
            assert resumed["result"] == "snapshot"
            assert snapshot is not None
            assert (snapshot.epoch, snapshot.attempt) == (2, 2)
        check_messages(ledger.of(session), session)
        end = ledger.end(session)
        assert end is not None
        assert end.outcome == "done"
    async with kept(site) as store:
        for session in sessions:
            written = [event for event in await store.log.tail(session, 0) if isinstance(event, PersonaReady)]
            assert len(written) == 1


async def again(site: Site, *keys: str) -> list[bool]:
    """Ask for the same hatches with the same keys; whether they exist."""
    async with open_wire(site.url) as wire:
        answers = [
            await wire.ask("start", key=key, hatch={"prompt": f"a fox named {key}"}, watch=False) for key in keys
        ]
    return [answer["existing"] for answer in answers]


async def test_the_same_picture_is_drawn_that_was_begun(site: Site) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        session, _ = await leave_two(site, "drawing and waiting", signal.SIGKILL, ledger)
        async with living(site), open_wire(site.url) as wire, _http(site) as http:
            await see_ends(site, ledger, [session], ledger.cursors([session]))
            agent = (await http.get(f"/v1/agents/{session}")).json()
            redraw = {"prompt": "a fox", "persona": agent["persona"], "image": {"seed": agent["seed"]}}
            accepted = await wire.ask("start", hatch=redraw)
            await wire.end(accepted["session"])
            (artifact,) = wire.of(accepted["session"], "artifact")
        (picture,) = {artifact.sha256 for artifact in ledger.artifacts(session)}
    assert artifact["sha256"] == picture


@pytest.mark.parametrize("moment", MOMENTS)
async def test_hatches_that_are_not_to_go_on_end_as_failed(site: Site, moment: str) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        sessions = await leave_two(site, moment, signal.SIGKILL, ledger)
        async with living(site, {"HATCHERY_HATCH_RESUME": "false"}):
            await see_ends(site, ledger, sessions, ledger.cursors(sessions))
    for session in sessions:
        check_messages(ledger.of(session), session)
        end = ledger.end(session)
        assert end is not None
        assert end.error is not None
        assert (end.outcome, end.error.code, end.error.retryable) == ("failed", "draining", True)


# --- stopped


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_stopped_gateway_leaves_nothing_to_go_on_with(site: Site, moment: str) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        sessions = await leave_two(site, moment, signal.SIGTERM, ledger)
        async with kept(site) as store:
            assert store.log.unfinished() == []
            for session in sessions:
                end = ledger.end(session)
                assert end is not None
                assert end.outcome == "cancelled"
                assert (await store.log.view(session)).end == end
    for session in sessions:
        check_messages(ledger.of(session), session)


# --- what stays


async def test_what_clients_know_of_the_past_stays_true(site: Site, tmp_path: Path) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        async with living(site) as child, open_wire(site.url) as wire:
            done = await wire.start("a fox named a", key="a")
            await wire.end(done)
            assert await wire.ask("cancel", key="late", reason="enough") == {"type": "ok", "id": "ask-3"}
            ledger.note(wire.typed())
            await stop(child, signal.SIGKILL)
        (picture,) = ledger.artifacts(done)
        (cursor,) = ledger.cursors([done])
        behind = cursor | {"seq": cursor["seq"] - 1}
        async with living(site), open_wire(site.url, greet=False) as wire:
            welcome = await wire.ask("hello", resume=[cursor, STRANGE, behind])
            assert [one["result"] for one in welcome["resumed"]] == ["current", "gone", "snapshot"]
            async with httpx2.AsyncClient(base_url=site.url, trust_env=False) as http:
                assert (await http.get(picture.url)).status_code == 200
            assert await again(site, "a") == [True]
            conflict = await wire.ask("start", key="a", hatch={"prompt": "a bear"})
            assert conflict["code"] == "key_conflict"
            doomed = await wire.start("a wolf", key="late")
            assert (await wire.end(doomed))["outcome"] == "cancelled"
            (snapshot,) = wire.of(done)
            assert snapshot["end"]["outcome"] == "done"


async def test_a_reconnect_to_the_same_life_goes_on_where_it_was(site: Site) -> None:
    """Some of many sessions are current, some have gone on: what both connections say together has no hole."""
    ledger = Ledger()
    with trio.fail_after(60):
        async with living(site, {**SLOW_WRITER, "HATCHERY_LLM_SLOTS": "2"}):
            async with open_wire(site.url) as wire:
                sessions = [await wire.start(f"fox {number}") for number in range(12)]
                await wire.until(lambda m: m["type"] == "text" and m["offset"] > 20)
                ledger.note(wire.typed())
            for _ in range(3):
                async with open_wire(site.url, greet=False) as wire:
                    welcome = await wire.ask("hello", resume=[*ledger.cursors(sessions), STRANGE])
                    results = [one["result"] for one in welcome["resumed"]]
                    assert results[-1] == "gone"
                    assert results[2:12] == ["current"] * 10
                    await wire.until(lambda m: m["type"] == "text")
                    ledger.note(wire.typed())
            async with open_wire(site.url) as wire:
                for session in sessions:
                    await wire.ask("cancel", session=session)
            await see_ends(site, ledger, sessions, ledger.cursors(sessions))
    for session in sessions:
        check_messages(ledger.of(session), session)


async def test_grace_begins_afresh_for_who_comes_back(site: Site) -> None:
    ledger = Ledger()
    with trio.fail_after(60):
        async with living(site, SLOW_WRITER) as child, open_wire(site.url) as wire:
            forgotten, missed = [
                await wire.start(f"fox {number}", on_disconnect="cancel", grace_s=1.0) for number in range(2)
            ]
            await wire.until(says("text", session=forgotten))
            await stop(child, signal.SIGKILL)
            await wire.closed()
            ledger.note(wire.typed())
        async with living(site, SLOW_WRITER), open_wire(site.url, greet=False) as wire:
            await wire.ask("hello", resume=ledger.cursors([missed]))
            while not (await wire.ask("list", states=["cancelled"]))["items"]:  # noqa: ASYNC110
                await trio.sleep(0.1)  # polls: to watch it would keep it alive
            (left,) = (await wire.ask("list", states=["queued", "writing"]))["items"]
    assert left["session"] == missed


# --- moments too short to hit: the store is written as the dying gateway would have left it


async def leave_behind(site: Site, *letters: mail.AnyMail, cancelled: bool = False) -> None:
    """A store in which session s1 has come so far and no further."""
    async with kept(site) as store:
        await store.log.create(record_of("s1", owner=OWNER))
        lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0)
        said: list[list[Entry]] = [lifecycle.handle(letter, 1.0) for letter in letters]
        if cancelled:
            said.append(lifecycle.cancel("enough", 2.0))
        for entries in said:
            await store.log.append("s1", entries)


async def test_a_picture_that_was_announced_is_done(site: Site) -> None:
    picture = ArtifactStore(site.data / "artifacts").store_png(png())
    stored = mail.PictureStored(**msgspec.structs.asdict(picture))
    await leave_behind(site, mail.WritingBegan(), WRITTEN, mail.DrawingBegan(steps=2), stored)
    with trio.fail_after(60):
        async with living(site), open_wire(site.url, greet=False) as wire:
            await wire.ask("hello", resume=[{"session": "s1", "epoch": 1, "seq": 5, "offset": 100}])
            end = await wire.end("s1")
            (snapshot,) = wire.of("s1", "snapshot")
            async with httpx2.AsyncClient(base_url=site.url, trust_env=False) as http:
                assert (await http.get(snapshot["artifacts"][0]["url"])).content == png()
    assert (end["outcome"], end["seq"], end["receipt"]["worker"]) == ("done", 6, "none")
    assert snapshot["epoch"] == 2, "its text counts from 0 again"
    assert snapshot["attempt"] == 1, "nothing was done again"


async def test_a_cancel_that_was_under_way_ends_as_cancelled(site: Site) -> None:
    await leave_behind(site, mail.WritingBegan(), mail.TextGrew(path="/name", delta="Ada"), cancelled=True)
    with trio.fail_after(60):
        async with living(site), open_wire(site.url, greet=False) as wire:
            welcome = await wire.ask("hello", resume=[{"session": "s1", "epoch": 1, "seq": 2, "offset": 3}])
            assert welcome["resumed"][0]["result"] == "snapshot"
            end = await wire.end("s1")  # in the snapshot or after it, whichever was first
            (snapshot,) = wire.of("s1", "snapshot")
    assert (snapshot["epoch"], snapshot["offset"], snapshot["persona"]) == (2, 0, {}), "half a name is taken back"
    assert (end["outcome"], end["seq"]) == ("cancelled", 3)


async def test_a_directory_whose_first_gateway_died_in_its_first_moment_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("gateway.premises.os.fsync", _no_power)
        with pytest.raises(InterruptedError):
            async with running_gateway(tmp_path):
                raise AssertionError("it cannot have started")
    async with running_gateway(tmp_path) as gateway, open_wire(gateway.url) as wire:
        assert (await wire.ask("ping"))["type"] == "pong"


def _no_power(_fd: int) -> None:
    raise InterruptedError("no power")


# --- a full disk


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process bound the files of another")
async def test_a_full_disk_stops_no_gateway(site: Site) -> None:
    with trio.fail_after(90):
        pace = {**SLOW_PAINTER, "HATCHERY_SIM_STEPS": "3"}
        async with living(site, pace) as child, open_wire(site.url) as wire, _http(site) as http:
            assert (await http.get("/readyz")).status_code == 200
            running = await wire.start("a fox", key="a")
            await wire.until(says("progress", session=running, step=1))
            _allow_files(child.process.pid, 0)
            refused = await wire.ask("start", hatch={"prompt": "a bear"}, key="b")
            assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "overloaded", True)
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "cannot write")
            assert (await http.get("/healthz")).status_code == 200
            await wire.until(says("progress", session=running, stage="decoding"))
            _allow_files(child.process.pid, resource.RLIM_INFINITY)
            assert (await wire.end(running))["outcome"] == "done"
            assert (await http.get("/readyz")).status_code == 200
            after = await wire.start("a bear", key="b")
            assert (await wire.end(after))["outcome"] == "done"
            check_messages(wire.typed(), running)
            await stop(child, signal.SIGKILL)
        async with kept(site) as store:
            assert await store.check() == []
            assert store.log.unfinished() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process bound the files of another")
async def test_a_gateway_on_a_full_disk_stops_in_time_and_leaves_the_hatch_to_the_next_one(site: Site) -> None:
    ledger = Ledger()
    bounds = {"HATCHERY_SERVER_DRAIN_S": "0.5", "HATCHERY_SERVER_STOP_S": "6"}
    with trio.fail_after(60):
        async with living(site, {**SLOW_PAINTER, **bounds}) as child, open_wire(site.url) as wire:
            running = await wire.start("a fox", key="a")
            await wire.until(says("progress", session=running, step=1))
            _allow_files(child.process.pid, 0)
            began = trio.current_time()
            assert await stop(child, signal.SIGTERM) == 0
            assert trio.current_time() - began < 0.5 + 6 + 2
            await wire.closed()
            ledger.note(wire.typed())
        assert ledger.end(running) is None, "what cannot be kept is not told"
        async with kept(site) as store:
            (left,) = store.log.unfinished()
            told = [message.seq for message in ledger.reliable(running)]
            assert (left.record.session, left.state, left.seq) == (running, "drawing", told[-1])


def _http(site: Site) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=site.url, trust_env=False)


def _allow_files(pid: int, size: int) -> None:
    """Bound the size of the files that a process can write, in bytes; more fails as on a full disk (Linux only)."""
    assert sys.platform == "linux"
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


async def test_what_is_known_of_a_writers_lengths_outlasts_its_gateway(tmp_path: Path) -> None:
    fast: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01}
    async with running_gateway(tmp_path, **fast) as gateway, listening_client(gateway) as client:
        for number in range(MIN_LENGTHS):
            accepted = await client.start(HatchRequest(prompt="an owl"), id=number + 1)
            await client.end(accepted.session)
        known = gateway.services.sessions.workshop.lengths.typical()
    assert known
    async with running_gateway(tmp_path, **fast) as gateway:
        assert gateway.services.sessions.workshop.lengths.typical() == known
    async with running_gateway(tmp_path, **{**fast, "llm__engine": "demo"}) as gateway:
        assert gateway.services.sessions.workshop.lengths.typical() == {}, "another writer has its own"
