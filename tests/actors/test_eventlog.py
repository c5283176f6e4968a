"""What every EventLog promises, run against each implementation there is."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
import trio

from actors.eventlog import Claim, Created, EventLog, Existing, MemoryLog, Publish
from actors.store.database import StoreLimits, open_database
from actors.store.eventlog import LogLimits, open_sqlite_log
from actors.store.keys import KeyLimits
from protocol import mail
from protocol.errors import Gone, Invalid, KeyConflict, NotFound
from protocol.events import Artifact, PersonaReady, Progress, State, Text
from protocol.journal import Entry
from protocol.lifecycle import Lifecycle
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, PERSONA, PICTURE, Recorder, record_of

RETAINED = 3

OpenLog = Callable[[Publish], AbstractAsyncContextManager[EventLog]]


@asynccontextmanager
async def memory_log(publish: Publish) -> AsyncIterator[EventLog]:
    yield MemoryLog(publish, retained=RETAINED)


@asynccontextmanager
async def sqlite_log(publish: Publish) -> AsyncIterator[EventLog]:
    with TemporaryDirectory() as directory:
        async with open_database(Path(directory) / "store.sqlite3", StoreLimits()) as database:
            limits = LogLimits(retained=RETAINED, cached=1)
            yield await open_sqlite_log(database, publish, limits=limits, key_limits=KeyLimits(), now_s=time.time)


@pytest.fixture(params=[memory_log, sqlite_log])
def open_log(request: pytest.FixtureRequest) -> OpenLog:
    opener: OpenLog = request.param
    return opener


def hatched(session: str = "s1") -> list[list[Entry]]:
    """Everything one session says, in the portions in which it says it."""
    lifecycle = Lifecycle(session, engines=ENGINES, steps=2, persona=None, now=0.0)
    letters: list[mail.AnyMail] = [
        mail.WritingBegan(),
        mail.TextGrew(path="/name", delta="Ada"),
        mail.WritingAdvanced(fraction=0.5, basis="estimated"),
        mail.PersonaWritten(persona=PERSONA),
        mail.DrawingBegan(steps=2),
        mail.StepFinished(step=1, steps=2),
        PICTURE,
    ]
    return [*(lifecycle.handle(letter, 1.0) for letter in letters), lifecycle.finish(None, 2.0)]


async def play(log: EventLog, *sessions: str, owner: str = "ann") -> None:
    """Let sessions hatch, one after the other."""
    for session in sessions:
        await log.create(record_of(session, owner=owner))
        for entries in hatched(session):
            await log.append(session, entries)


async def listed(log: EventLog, owner: str = "ann") -> list[str]:
    listing = await log.list(owner, states=None, limit=100, before=None)
    return [item.session for item in listing.items]


async def test_a_new_session_can_be_seen_and_nothing_was_published(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        created = await log.create(record_of())
        view = await log.view("s1")
        assert created.view.record == view.record == record_of()
        assert (view.state, view.seq, view.epoch) == ("queued", 0, 1)
        assert await log.tail("s1", 0) == []
    assert recorder.batches == []


async def test_entries_are_published_in_order_and_in_the_portions_they_came_in(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        await play(log, "s1")
    assert recorder.batches == hatched()


async def test_when_append_returns_the_entries_are_published_and_in_the_view(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        await log.create(record_of())
        seen: list[Entry] = []
        for entries in hatched():
            await log.append("s1", entries)
            seen += entries
            assert recorder.of() == seen
        view = await log.view("s1")
        assert (view.state, view.artifacts[0].sha256) == ("done", PICTURE.sha256)


async def test_what_is_published_is_in_the_view_already(open_log: OpenLog) -> None:
    seqs: list[tuple[int, int]] = []

    def publish(view: SessionView, entries: Sequence[Entry]) -> None:
        seqs.extend((view.seq, entry.seq) for entry in entries if isinstance(entry, State))

    async with open_log(publish) as log:
        await log.create(record_of())
        await log.append("s1", [State(session="s1", seq=1, state="writing")])
    assert seqs == [(1, 1)]


async def test_the_tail_holds_what_is_reliable_after_a_cursor(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await play(log, "s1")
        everything = await log.tail("s1", 0)
        assert [event.seq for event in everything] == [1, 2, 3, 4, 5, 6]
        assert [type(event).__name__ for event in everything] == [
            "State", "PersonaReady", "State", "State", "Artifact", "End",
        ]  # fmt: skip
        assert await log.tail("s1", 4) == everything[4:]
        assert await log.tail("s1", 6) == []
        assert isinstance(everything[1], PersonaReady)
        assert everything[1].persona == PERSONA


async def test_a_tail_is_not_changed_by_what_comes_after(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of())
        await log.append("s1", [State(session="s1", seq=1, state="writing")])
        tail = await log.tail("s1", 0)
        await log.append("s1", [State(session="s1", seq=2, state="waiting")])
        assert len(tail) == 1


async def test_appending_at_once_from_many_tasks_keeps_each_sessions_order(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(play, log, f"s{number}")
        for number in range(10):
            assert recorder.of(f"s{number}") == [entry for entries in hatched(f"s{number}") for entry in entries]


async def test_portions_appended_without_waiting_keep_their_order(open_log: OpenLog) -> None:
    """Two actors of one session speak: whoever called first is published first."""
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        await log.create(record_of())
        async with trio.open_nursery() as nursery:
            called: list[int] = []

            async def say(seq: int) -> None:
                called.append(seq)
                await log.append("s1", [State(session="s1", seq=seq, state="writing")])

            for seq in range(1, 20):
                nursery.start_soon(say, seq)
    assert [entry.seq for entry in recorder.of() if isinstance(entry, State)] == called


async def test_a_cancelled_append_is_carried_out_all_the_same(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        await log.create(record_of())
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append("s1", [State(session="s1", seq=1, state="writing")])
        await log.append("s1", [State(session="s1", seq=2, state="waiting")])
        assert [event.seq for event in await log.tail("s1", 0)] == [1, 2]
    assert len(recorder.of()) == 2


async def test_what_is_fleeting_is_published_and_not_kept(open_log: OpenLog) -> None:
    recorder = Recorder()
    progress = Progress(session="s1", percent=1.0, stage="persona", basis="measured", message="")
    text = Text(session="s1", offset=0, path="/name", delta="A")
    async with open_log(recorder.publish) as log:
        await log.create(record_of())
        await log.append("s1", [progress, text])
        assert await log.tail("s1", 0) == []
        assert (await log.view("s1")).offset == 1
    assert recorder.of() == [progress, text]


async def test_unknown_sessions(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        for ask in (log.view("nobody"), log.tail("nobody", 0)):
            with pytest.raises(NotFound):
                await ask


async def test_the_oldest_ended_sessions_are_pruned_and_said_to_be_gone(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of("running"))
        await play(log, *(f"s{number}" for number in range(RETAINED + 1)))
        assert await listed(log) == ["s3", "s2", "s1", "running"], "what runs stays, however old"
        for ask in (log.view("s0"), log.tail("s0", 0)):
            with pytest.raises(Gone):
                await ask
        assert (await log.view("s1")).state == "done"
        assert (await log.view("running")).state == "queued"


async def test_of_the_pruned_the_epitaph_stays(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of("s0"))
        lifecycle = Lifecycle("s0", engines=ENGINES, steps=2, persona=None, now=0.0)
        said = [
            *lifecycle.handle(mail.WritingBegan(), 1.0),
            *lifecycle.handle(mail.PersonaRejected(reason="no"), 1.0),
            *lifecycle.handle(mail.TextGrew(path="/name", delta="Ada"), 1.0),
            *lifecycle.cancel("enough", 2.0),
            *lifecycle.finish(None, 3.0),
        ]
        await log.append("s0", said)
        expected = (await log.view("s0")).epitaph()
        assert (expected.epoch, expected.offset, expected.state) == (2, 3, "cancelled")
        assert await log.epitaph("s0") is None
        await play(log, *(f"later{number}" for number in range(RETAINED)))
        assert await log.epitaph("s0") == expected
        assert await log.epitaph("nobody") is None


async def test_what_is_remembered_of_the_pruned_is_bounded(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await play(log, *(f"s{number}" for number in range(2 * RETAINED + 1)))
        with pytest.raises(NotFound):
            await log.view("s0")
        assert await log.epitaph("s0") is None


async def test_a_listing_is_the_owners_own_newest_first(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        for session, owner in (("s1", "ann"), ("s2", "bob"), ("s3", "ann")):
            await log.create(record_of(session, owner=owner))
        assert await listed(log) == ["s3", "s1"]
        assert await listed(log, "bob") == ["s2"]
        assert await listed(log, "eve") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_pages_cover_everything_once(open_log: OpenLog, limit: int) -> None:
    async with open_log(Recorder().publish) as log:
        for number in range(1, 5):
            await log.create(record_of(f"s{number}"))
            await log.create(record_of(f"other{number}", owner="bob"))
        found: list[str] = []
        before, pages = None, 0
        while pages == 0 or before is not None:
            page = await log.list("ann", states=None, limit=limit, before=before)
            assert len(page.items) == min(limit, 4 - len(found)), "no page is empty, no cursor leads nowhere"
            found += [item.session for item in page.items]
            before, pages = page.before, pages + 1
            await log.create(record_of(f"new{pages}"))  # newer than the cursor: on no later page
        assert found == ["s4", "s3", "s2", "s1"]


async def test_a_listing_by_state(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await play(log, "s1", "s2")
        await log.create(record_of("s3"))
        done = await log.list("ann", states=frozenset({"done"}), limit=1, before=None)
        assert [(item.session, item.state, item.percent) for item in done.items] == [("s2", "done", 100.0)]
        more = await log.list("ann", states=frozenset({"done"}), limit=1, before=done.before)
        assert ([item.session for item in more.items], more.before) == (["s1"], None)
        queued = await log.list("ann", states=frozenset({"queued", "writing"}), limit=9, before=None)
        assert [item.session for item in queued.items] == ["s3"]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "²", "9" * 40, "1 or 1=1"])
async def test_a_cursor_that_is_none(open_log: OpenLog, cursor: str) -> None:
    async with open_log(Recorder().publish) as log:
        with pytest.raises(Invalid) as refused:
            await log.list("ann", states=None, limit=1, before=cursor)
        assert refused.value.field == "before"


async def test_artifacts_are_kept_without_an_address(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await play(log, "s1")
        kept = [event for event in await log.tail("s1", 0) if isinstance(event, Artifact)]
        assert [artifact.url for artifact in kept] == [""], "whoever shows it signs a fresh one"
        signed = (await log.view("s1")).snapshot(lambda artifact: msgspec.structs.replace(artifact, url="/x"))
        assert [artifact.url for artifact in signed.artifacts] == ["/x"]


# --- keys

CLAIM = Claim("k", b"1")


async def test_one_claim_is_one_session_whoever_comes_first(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        found: list[Created | Existing] = []

        async def begin(session: str) -> None:
            found.append(await log.create(record_of(session), CLAIM))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(begin, f"s{number}")
        assert sorted(type(outcome).__name__ for outcome in found) == ["Created"] + ["Existing"] * 9
        (session,) = await listed(log)
        assert {outcome.view.session for outcome in found} == {session}
        claimed = await log.claimed("ann", CLAIM)
        assert claimed is await log.view(session)


async def test_a_key_with_another_hatch_is_a_conflict_and_keeps_nothing(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of("s1"), CLAIM)
        for attempt in (log.create(record_of("s2"), Claim("k", b"2")), log.claimed("ann", Claim("k", b"2"))):
            with pytest.raises(KeyConflict) as refusal:
                await attempt
            assert refusal.value.field == "key"
        assert await listed(log) == ["s1"]
        with pytest.raises(NotFound):
            await log.view("s2")


async def test_keys_and_early_cancels_belong_to_their_owner(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of("s1"), CLAIM)
        assert await log.claimed("bob", CLAIM) is None
        assert await log.bury("bob", "k", "mischief") is None
        assert await log.bury("ann", "k", "late") == "s1"
        theirs = await log.create(record_of("s2", owner="bob"), CLAIM)
        assert isinstance(theirs, Created)
        assert theirs.doom == "mischief"


async def test_a_cancel_that_came_early_is_told_once(open_log: OpenLog) -> None:
    recorder = Recorder()
    async with open_log(recorder.publish) as log:
        assert await log.bury("ann", "k", "changed my mind") is None
        first = await log.create(record_of("s1"), CLAIM)
        again = await log.create(record_of("s2"), CLAIM)
        assert isinstance(first, Created)
        assert first.doom == "changed my mind"
        assert isinstance(again, Existing)
        cancelling = State(session="s1", seq=1, state="cancelling", reason="changed my mind")
        assert recorder.of("s1") == await log.tail("s1", 0) == [cancelling]
        assert again.view.state == "cancelling"
        assert recorder.of("s2") == []


async def test_the_session_of_a_key_may_have_been_pruned(open_log: OpenLog) -> None:
    async with open_log(Recorder().publish) as log:
        await log.create(record_of("s1"), CLAIM)
        for entries in hatched("s1"):
            await log.append("s1", entries)
        await play(log, *(f"later{number}" for number in range(RETAINED)))
        for ask in (log.claimed("ann", CLAIM), log.create(record_of("s2"), CLAIM)):
            with pytest.raises(Gone):
                await ask
