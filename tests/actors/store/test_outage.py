"""A disk that takes no writes for longer than patience: what is told meanwhile, and what is kept then or later."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

from actors.store.database import StoreLimits
from actors.store.eventlog import LogLimits
from actors.store.reserve import Reserve
from actors.store.store import Store, StoreSettings
from protocol import mail
from protocol.errors import NotFound, Overloaded
from protocol.events import End, PersonaReady
from protocol.journal import Entry
from protocol.lifecycle import Lifecycle
from tests.actors.store.stores import hatched, opened, say
from tests.helpers.fakes import ENGINES, PERSONA, Recorder, record_of

HASTY: Final = StoreSettings(writes=StoreLimits(retry_s=0.02, patience_s=0.1), log=LogLimits(cached=0, patience_s=60.0))
FULL: Final = Overloaded("the disk is full")


async def turn(store: Store, *, writable: bool) -> None:
    """Every write is refused by SQLite itself, as on a disk that was remounted read-only; or no more."""
    database = store._database
    async with database._writing:  # the connection belongs to one thread at a time
        database._writer.pragma("query_only", int(not writable))
    database.offer(lambda writer: writer.execute("DELETE FROM probe"))  # so that the store notices


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - a thread of the store changes it
            await trio.sleep(0.01)


def writing() -> Lifecycle:
    return Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0)


def failed(lifecycle: Lifecycle) -> list[Entry]:
    return lifecycle.finish(FULL, 1.0)


def cancelled(lifecycle: Lifecycle) -> list[Entry]:
    return [*lifecycle.cancel("enough", 1.0), *lifecycle.finish(None, 1.0)]


@pytest.mark.parametrize("ending", [failed, cancelled])
async def test_an_end_without_a_picture_is_told_and_kept_as_soon_as_that_works(
    tmp_path: Path, ending: Callable[[Lifecycle], list[Entry]]
) -> None:
    recorder = Recorder()
    said = ending(writing())
    async with opened(tmp_path, recorder, HASTY) as store:
        await store.log.create(record_of())
        await turn(store, writable=False)
        with trio.fail_after(10):
            await store.log.append("s1", said)
        assert recorder.of() == said
        assert not store.healthy
        assert (await store.log.view("s1")).end == recorder.end()
        (item,) = (await store.log.list("ann", states=None, limit=9, before=None)).items
        assert item.state == recorder.end().outcome
        assert (await store.log.list("ann", states=frozenset({"queued"}), limit=9, before=None)).items == []
        with pytest.raises(NotFound):
            await store.log.append("s1", said)
        await turn(store, writable=True)
        await eventually(lambda: store.healthy)
        assert recorder.of() == said, "told once"
        assert [type(event) for event in await store.log.tail("s1", 0)] == [type(entry) for entry in said]
    async with opened(tmp_path) as store:
        assert store.log.unfinished() == []
        assert (await store.log.view("s1")).end == said[-1]


async def test_what_waits_before_such_an_end_is_told_before_it(tmp_path: Path) -> None:
    recorder = Recorder()
    lifecycle = writing()
    begun = lifecycle.handle(mail.LlmQueued(position=1), 0.5) + lifecycle.handle(mail.WritingBegan(), 0.5)
    slower = StoreSettings(writes=StoreLimits(retry_s=0.02, patience_s=1.0))
    async with opened(tmp_path, recorder, slower) as store:
        await store.log.create(record_of())
        await turn(store, writable=False)
        end = failed(lifecycle)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.log.append, "s1", begun)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(store.log.append, "s1", end)
        assert recorder.of() == [*begun, *end]


async def overloaded(store: Store, entries: list[Entry]) -> None:
    """In an outage nobody waits for the rest of a patience."""
    with trio.fail_after(10), pytest.raises(Overloaded):
        await store.log.append("s1", entries)


async def test_done_is_not_told_before_it_is_kept(tmp_path: Path) -> None:
    recorder = Recorder()
    *before, done = hatched()
    async with opened(tmp_path, recorder, HASTY) as store:
        await store.log.create(record_of())
        await say(store.log, "s1", before)
        told = list(recorder.of())
        await turn(store, writable=False)
        await overloaded(store, done)
        assert recorder.of() == told
        await turn(store, writable=True)
        await recorder.until(lambda entries: isinstance(entries[-1], End))
        assert recorder.end().outcome == "done"
    async with opened(tmp_path) as store:
        assert store.log.unfinished() == []


async def test_who_runs_the_hatches_hears_of_an_outage_and_not_of_a_moment(tmp_path: Path) -> None:
    heard = trio.Event()
    brief = StoreSettings(writes=StoreLimits(retry_s=0.02, patience_s=600.0))
    async with opened(tmp_path, settings=brief) as store:
        store.log.on_outage = heard.set
        await turn(store, writable=False)
        await eventually(lambda: not store.healthy)
        await turn(store, writable=True)
        await eventually(lambda: store.healthy)
    assert not heard.is_set()
    async with opened(tmp_path, settings=HASTY) as store:
        store.log.on_outage = heard.set
        await turn(store, writable=False)
        with trio.fail_after(10):
            await heard.wait()


async def test_the_reserve_makes_an_end_durable_but_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told could be killed the next moment: the store is healthy again only with a new reserve."""
    recorder = Recorder()
    async with opened(tmp_path, recorder, HASTY) as store:
        await store.log.create(record_of())

        def make(_reserve: Reserve) -> None:
            raise OSError("no room for a new one")

        with monkeypatch.context() as patched:
            patched.setattr(Reserve, "make", make)
            patched.setattr(Reserve, "spend", lambda _reserve: store._database._writer.pragma("query_only", 0))
            await turn(store, writable=False)
            await eventually(lambda: not store.healthy)
            (end,) = failed(writing())
            with trio.fail_after(10):
                await store.log.append("s1", [end])
            assert await store.log.tail("s1", 0) == [end]
            assert not store.healthy
            with pytest.raises(Overloaded):
                await store.log.create(record_of("s2"))
        await eventually(lambda: store.healthy)
        await store.log.create(record_of("s2"))


async def test_a_gateway_that_dies_before_the_end_is_kept_leaves_the_hatch_to_the_next_one(tmp_path: Path) -> None:
    recorder = Recorder()
    written = PersonaReady(session="s1", seq=1, persona=PERSONA)
    async with opened(tmp_path, recorder, HASTY) as store:
        await store.log.create(record_of())
        await store.log.append("s1", [written])
        await turn(store, writable=False)
        (end,) = failed(writing())
        with trio.fail_after(10):
            await store.log.append("s1", [end])
        assert recorder.of() == [written, end]
    async with opened(tmp_path) as store:
        (left,) = store.log.unfinished()
        assert (left.persona, left.seq) == (PERSONA, 1)


async def test_a_store_without_room_to_begin_with_can_be_read_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_reserve: Reserve) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(Reserve, "make", make)
        async with opened(tmp_path, settings=HASTY) as store:
            assert not store.healthy
            assert (await store.log.list("ann", states=None, limit=9, before=None)).items == []
            patched.undo()
            await eventually(lambda: store.healthy)
