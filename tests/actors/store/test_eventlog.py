"""What the log on SQLite promises beyond the contract that all logs share."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors.eventlog import Claim, Created
from actors.store.database import Database, StoreLimits
from actors.store.eventlog import LogLimits
from actors.store.schema import connect
from actors.store.sql import select
from actors.store.store import DATABASE, Store, StoreSettings
from protocol import mail
from protocol.errors import Gone, Internal, NotFound, Overloaded
from protocol.events import End, Preview, Progress, State, Text, Thinking
from protocol.journal import Entry, EpochBegun, Recovered
from protocol.lifecycle import Lifecycle
from protocol.view import SessionView
from tests.actors.store.stores import QUICK, essence, hatch, hatched, opened, say
from tests.helpers.fakes import ENGINES, PERSONA, PICTURE, Recorder, record_of, seeded_scheduler

WRITING = State(session="s1", seq=1, state="writing")
CANCELLING = State(session="s1", seq=2, state="cancelling", reason="the gateway stops")
TEXT = Text(session="s1", offset=0, path="/name", delta="A")
PROGRESS = Progress(session="s1", percent=1.0, stage="persona", basis="measured", message="")
PREVIEW = Preview(session="s1", step=1, mime="image/webp", width=1, height=1, data=b"x")
(ENDED,) = Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0).finish(Internal("it broke"), 1.0)
EPOCH = EpochBegun(session="s1", epoch=2, attempt=2, state="writing", keeps_persona=False)


def database_of(store: Store) -> Database:
    return store._database


async def fill_disk(store: Store) -> None:
    """From now on every new page is a real SQLITE_FULL, and the store has noticed."""
    database_of(store)._writer.pragma("max_page_count", 1)
    with pytest.raises(Overloaded):
        await database_of(store).write(lambda writer: writer.execute("INSERT INTO probe VALUES (zeroblob(100000))"))


def make_room(store: Store) -> None:
    database_of(store)._writer.pragma("max_page_count", 2**32 - 2)


@contextmanager
def slow_disk(store: Store) -> Iterator[None]:
    """A disk that takes the whole block to write what is already in line."""
    gate = threading.Event()
    database_of(store).offer(lambda _writer: gate.wait())
    try:
        yield
    finally:
        gate.set()


class Keeper(Recorder):
    """Also keeps the views that were published."""

    def __init__(self) -> None:
        super().__init__()
        self.views: list[SessionView] = []

    def publish(self, view: SessionView, entries: Sequence[Entry]) -> None:
        super().publish(view, entries)
        self.views.append(view)


# --- what lasts


async def test_a_session_read_back_is_the_one_that_was_there(tmp_path: Path) -> None:
    """Whether it fell out of memory, or the process ended: also the text offset and the last progress are the same."""
    keeper = Keeper()
    async with opened(tmp_path, keeper) as store:
        await hatch(store.log, "s1")
        shown = keeper.views[-1]
        read = await store.log.view("s1")
        assert read is not shown
        assert essence(read) == essence(shown)
        assert shown.end is not None
        assert shown.offset > 0
    async with opened(tmp_path) as store:
        assert essence(await store.log.view("s1")) == essence(shown)
        listing = await store.log.list("ann", states=None, limit=9, before=None)
        assert listing.items == [shown.item()]
        assert store.log.unfinished() == []


async def test_an_ended_session_is_found_in_memory_while_there_is_room(tmp_path: Path) -> None:
    settings = StoreSettings(log=LogLimits(cached=2))
    async with opened(tmp_path, settings=settings) as store:
        for number in range(3):
            await hatch(store.log, f"s{number}")
        views = {session: await store.log.view(session) for session in ("s1", "s2")}
        assert all([await store.log.view(session) is view for session, view in views.items()])
        oldest = await store.log.view("s0")
        assert await store.log.view("s0") is oldest
        assert await store.log.view("s1") is not views["s1"], "the one that was asked for least recently gave way"


async def test_a_kept_entry_is_durable_before_it_is_published(tmp_path: Path) -> None:
    """Another connection, as another process would have, finds what a publication announces."""
    missing: list[int] = []
    other = connect(tmp_path / DATABASE)

    class Prober(Recorder):
        def publish(self, view: SessionView, entries: Sequence[Entry]) -> None:
            super().publish(view, entries)
            durable = {seq for (seq,) in select(other, "SELECT seq FROM entries")}
            missing.extend(entry.seq for entry in entries if isinstance(entry, State) and entry.seq not in durable)

    recorder = Prober()
    async with opened(tmp_path, recorder) as store:
        await store.log.create(record_of())

        async def write(seq: int) -> None:
            for _ in range(20 * seq):
                await trio.lowlevel.checkpoint()
            await store.log.append("s1", [State(session="s1", seq=seq, state="writing"), PROGRESS])

        async with trio.open_nursery() as nursery:
            for seq in range(1, 100):
                nursery.start_soon(write, seq)
    other.close()
    assert len(recorder.of()) == 2 * 99
    assert missing == []


async def test_a_cancelled_append_returns_when_it_is_published(tmp_path: Path) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        await store.log.create(record_of())
        published: list[Entry] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.log.append("s1", [WRITING])
            published = recorder.of()
        assert published == [WRITING]


async def test_what_was_taken_back_is_not_read_back(tmp_path: Path) -> None:
    keeper = Keeper()
    lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0)
    async with opened(tmp_path, keeper) as store:
        await store.log.create(record_of())
        await say(store.log, "s1", [[WRITING, TEXT, PROGRESS], [EPOCH], lifecycle.finish(None, 1.0)])
        assert keeper.views[-1].progress is None
        assert essence(await store.log.view("s1")) == essence(keeper.views[-1])


async def test_a_tail_is_of_the_moment_of_the_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, trio.open_nursery() as nursery:
        await store.log.create(record_of())
        gate = threading.Event()
        nursery.start_soon(database_of(store).read, lambda _reader: gate.wait())
        await trio.testing.wait_all_tasks_blocked()
        tails: list[object] = []

        async def tail() -> None:
            tails.append(await store.log.tail("s1", 0))

        nursery.start_soon(tail)
        await trio.testing.wait_all_tasks_blocked()
        await store.log.append("s1", [WRITING])
        gate.set()
        while not tails:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert tails == [[]]
        assert await store.log.tail("s1", 0) == [WRITING]


async def test_what_was_pruned_is_not_found_in_memory_either(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=StoreSettings(log=LogLimits(retained=2))) as store:
        for number in range(3):
            await hatch(store.log, f"s{number}")
        with pytest.raises(Gone):
            await store.log.view("s0")
        assert await store.log.prune(beyond=1, before_ms=0) == 1
        with pytest.raises(Gone):
            await store.log.view("s1")
        assert (await store.log.view("s2")).state == "done"


async def test_only_what_is_to_be_kept_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.log.create(record_of())
        await store.log.append("s1", [WRITING, TEXT, Thinking(session="s1", delta="hm"), PROGRESS, PREVIEW])
    async with opened(tmp_path) as store:
        view = await store.log.view("s1")
        assert (view.seq, view.state, view.offset, view.persona, view.progress, view.preview) == (
            1, "writing", 0, {}, None, None,
        )  # fmt: skip


# --- order


async def test_what_is_not_kept_is_published_at_once_when_nothing_is_in_line(tmp_path: Path) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        await store.log.create(record_of())
        with slow_disk(store):
            await store.log.append("s1", [TEXT, PROGRESS])
            assert recorder.of() == [TEXT, PROGRESS]


@pytest.mark.parametrize("ahead", [WRITING, EPOCH])
@pytest.mark.parametrize("fleeting", [TEXT, PROGRESS, PREVIEW, Thinking(session="s1", delta="hm")])
async def test_what_is_not_kept_waits_for_what_is_in_line(tmp_path: Path, ahead: Entry, fleeting: Entry) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        for session in ("s1", "s2"):
            await store.log.create(record_of(session))
        async with trio.open_nursery() as nursery:
            with slow_disk(store):
                nursery.start_soon(store.log.append, "s1", [ahead])
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(store.log.append, "s1", [fleeting])
                await trio.testing.wait_all_tasks_blocked()
                other = Text(session="s2", offset=0, path="/name", delta="B")
                await store.log.append("s2", [other])
                assert recorder.entries == {"s2": [other]}, "others do not wait"
        assert recorder.of() == [ahead, fleeting]


@pytest.mark.parametrize("seed", range(5))
async def test_portions_are_published_in_the_order_of_the_calls(tmp_path: Path, seed: int) -> None:
    """Whatever is kept and whatever is not, in any order of tasks, some of them cancelled."""
    recorder = Recorder()
    called: dict[str, list[Entry]] = {f"s{number}": [] for number in range(8)}
    async with opened(tmp_path, recorder) as store:
        with seeded_scheduler(seed) as random:

            async def tell(session: str, entry: Entry) -> None:
                for _ in range(random.randrange(200)):
                    await trio.lowlevel.checkpoint()
                with trio.CancelScope() as scope:
                    if random.random() < 0.2:
                        scope.cancel()
                    called[session].append(entry)
                    await store.log.append(session, [entry])

            for session in called:
                await store.log.create(record_of(session))
            async with trio.open_nursery() as nursery:
                for session in called:
                    for seq in range(1, 30):
                        nursery.start_soon(tell, session, State(session=session, seq=seq, state="writing"))
                        nursery.start_soon(tell, session, msgspec.structs.replace(TEXT, session=session, offset=seq))
                        nursery.start_soon(tell, session, msgspec.structs.replace(PREVIEW, session=session, step=seq))
        assert {session: recorder.of(session) for session in called} == called


async def test_an_error_of_the_publisher_is_the_appenders_own(tmp_path: Path) -> None:
    class Grumpy(Recorder):
        def publish(self, view: SessionView, entries: Sequence[Entry]) -> None:
            if view.session == "s1":
                raise ValueError("no")
            super().publish(view, entries)

    recorder = Grumpy()
    async with opened(tmp_path, recorder) as store:
        for session in ("s1", "s2"):
            await store.log.create(record_of(session))
        with pytest.raises(ValueError, match="no"):
            await store.log.append("s1", [WRITING])
        await store.log.append("s2", [State(session="s2", seq=1, state="writing")])
        assert len(recorder.of("s2")) == 1


async def test_nothing_is_appended_to_what_is_not_there_or_has_ended(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        for session in ("s1", "nobody"):
            with pytest.raises(NotFound):
                await store.log.append(session, [WRITING])


# --- when the disk is full


async def test_a_full_disk_holds_hatches_up_and_loses_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        await store.log.create(record_of(), Claim("k", b"1"))
        await fill_disk(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, store.log, "s1", hatched())
            with pytest.raises(Overloaded):
                await store.log.create(record_of("s2"), Claim("k2", b"1"))
            with pytest.raises(NotFound):
                await store.log.view("s2")
            assert (await store.log.view("s1")).seq == 0
            make_room(store)
        assert store.healthy
        assert recorder.of() == [entry for entries in hatched() for entry in entries]
        assert isinstance(await store.log.create(record_of("s2"), Claim("k2", b"1")), Created)


async def test_an_append_that_waits_too_long_says_so_and_is_carried_out_later(tmp_path: Path) -> None:
    recorder = Recorder()
    settings = StoreSettings(writes=QUICK.writes, log=LogLimits(patience_s=0.2))
    async with opened(tmp_path, recorder, settings) as store:
        await store.log.create(record_of())
        await fill_disk(store)
        with pytest.raises(Overloaded):
            await store.log.append("s1", [WRITING])
        with pytest.raises(Overloaded):
            await store.log.append("s1", [PROGRESS])
        assert recorder.of() == []
        make_room(store)
        await recorder.until(lambda entries: len(entries) == 2)
        assert recorder.of() == [WRITING, PROGRESS]
        assert len(await store.log.tail("s1", 0)) == 1


@pytest.mark.parametrize("early", [False, True])
async def test_in_a_hurry_nobody_waits_long_for_a_full_disk(tmp_path: Path, early: bool) -> None:
    """What was not written is not told either, and the session is found unfinished by the next gateway."""
    recorder = Recorder()
    settings = StoreSettings(writes=QUICK.writes, log=LogLimits(patience_s=600, hurry_s=0.2))
    async with opened(tmp_path, recorder, settings) as store:
        await store.log.create(record_of())
        await store.log.append("s1", [WRITING])
        await fill_disk(store)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                if not early:
                    nursery.start_soon(refused, store, CANCELLING)
                    await trio.testing.wait_all_tasks_blocked()
                store.log.hurry()
                if early:
                    await refused(store, CANCELLING)
    assert recorder.of() == [WRITING]
    async with opened(tmp_path) as store:
        (left,) = store.log.unfinished()
        assert (left.state, left.seq) == ("writing", 1)


async def refused(store: Store, entry: Entry) -> None:
    with pytest.raises(Overloaded):
        await store.log.append("s1", [entry])


async def test_in_a_hurry_a_healthy_disk_is_given_its_time(tmp_path: Path) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        await store.log.create(record_of())
        store.log.hurry()
        await say(store.log, "s1", hatched())
    assert recorder.of() == [entry for entries in hatched() for entry in entries]


async def test_a_create_beyond_the_bound_is_refused_and_keeps_nothing(tmp_path: Path) -> None:
    outcomes: list[str] = []
    async with opened(tmp_path, settings=StoreSettings(writes=StoreLimits(queue=5))) as store:

        async def begin(session: str) -> None:
            try:
                outcomes.append(type(await store.log.create(record_of(session))).__name__)
            except Overloaded:
                outcomes.append("Overloaded")

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(begin, f"s{number}")
        assert sorted(outcomes) == ["Created"] * 5 + ["Overloaded"] * 7
        assert len((await store.log.list("ann", states=None, limit=99, before=None)).items) == 5


async def test_a_repeated_entry_is_a_bug_of_one_session_only(tmp_path: Path) -> None:
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        for session in ("s1", "s2"):
            await store.log.create(record_of(session))
        store.log._live["s1"].number = 999  # no such row
        with pytest.raises(Internal):
            await store.log.append("s1", [WRITING])
        await store.log.append("s2", [State(session="s2", seq=1, state="writing")])
        assert (len(recorder.of("s1")), len(recorder.of("s2"))) == (0, 1)
        assert store.healthy


# --- after a restart


def portions(*letters: mail.AnyMail, cancel: bool = False) -> list[list[Entry]]:
    lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0)
    said = [lifecycle.handle(letter, 1.0) for letter in letters]
    return [*said, lifecycle.cancel("enough", 2.0)] if cancel else said


WRITTEN = mail.PersonaWritten(persona=PERSONA)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], ("queued", 1, 1, 0, None, 0)),
        (portions(mail.WritingBegan(), mail.TextGrew(path="/name", delta="A")), ("writing", 1, 1, 1, None, 0)),
        (portions(mail.WritingBegan(), mail.PersonaRejected(reason="no")), ("writing", 2, 1, 1, None, 0)),
        (portions(mail.WritingBegan(), WRITTEN), ("waiting", 1, 1, 3, PERSONA, 0)),
        (portions(WRITTEN, mail.DrawingBegan(steps=2), PICTURE), ("drawing", 1, 1, 4, PERSONA, 1)),
        (portions(WRITTEN, cancel=True), ("cancelling", 1, 1, 3, PERSONA, 0)),
    ],
)
async def test_what_was_left_unfinished_is_found_as_far_as_it_had_come(
    tmp_path: Path, said: list[list[Entry]], expected: tuple[object, ...]
) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s0")
        await store.log.create(record_of())
        await say(store.log, "s1", said)
    async with opened(tmp_path) as store:
        (found,) = store.log.unfinished()
        assert found.record == record_of()
        assert (
            found.state, found.epoch, found.attempt, found.seq, found.persona, len(found.artifacts),
        ) == expected  # fmt: skip


@pytest.mark.parametrize("written", [False, True])
async def test_an_unfinished_session_goes_on_in_a_new_epoch_with_the_next_seq(tmp_path: Path, written: bool) -> None:
    async with opened(tmp_path) as store:
        await store.log.create(record_of())
        await say(store.log, "s1", portions(mail.WritingBegan(), *([WRITTEN] if written else [])))
    recorder = Recorder()
    async with opened(tmp_path, recorder) as store:
        (found,) = store.log.unfinished()
        await say(store.log, "s1", resumed(found))
        tail = await store.log.tail("s1", 0)
        assert [event.seq for event in tail] == list(range(1, len(tail) + 1))
        assert isinstance(tail[-1], End)
        (begun,) = [entry for entry in recorder.of() if isinstance(entry, EpochBegun)]
        assert (begun.epoch, begun.attempt, begun.keeps_persona) == (2, 2, written)
        assert (await store.log.view("s1")).state == "done"
    async with opened(tmp_path) as store:
        assert store.log.unfinished() == []


def resumed(found: Recovered) -> list[list[Entry]]:
    lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=found.persona, now=0.0)
    letters: list[mail.AnyMail] = [mail.DrawingBegan(steps=2), PICTURE]
    if found.persona is None:
        letters[:0] = [mail.WritingBegan(), WRITTEN]
    lifecycle.restore(found)
    said = [lifecycle.resume(0.0)]
    said += [lifecycle.handle(letter, 1.0) for letter in letters]
    return [*said, lifecycle.finish(None, 2.0)]


async def test_a_persona_that_was_cut_short_is_still_there_when_read_from_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.log.create(record_of("s1"))
        async with trio.open_nursery() as nursery:
            with slow_disk(store):
                for entry in (WRITING, TEXT, ENDED):  # the text waits behind what is being kept
                    nursery.start_soon(store.log.append, "s1", [entry])
                    await trio.testing.wait_all_tasks_blocked()
        view = await store.log.view("s1")
        assert (view.end, view.persona, view.offset) == (ENDED, {"name": "A"}, 1)
