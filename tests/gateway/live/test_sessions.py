from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from actors.artifacts import StoredPicture
from actors.mflux.engine import RenderJob, Tell
from gateway.live.sessions import Beginning, Started
from gateway.services import Services
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import (
    Draining,
    Gone,
    HatcheryError,
    Invalid,
    KeyConflict,
    NotFound,
    Overloaded,
    TooLarge,
)
from protocol.persona import Persona
from protocol.view import SessionView
from tests.helpers.fakes import ScriptedPainter
from tests.helpers.gateways import PERSONA, running_services

ADA, EVE = "ada", "eve"


async def start(services: Services, prompt: str = "a fox", *, owner: str = ADA, **options: object) -> Started:
    return await services.sessions.start(owner, Beginning(hatch=HatchRequest(prompt=prompt), **options))  # type: ignore[arg-type]


async def ended(view: SessionView) -> str:
    await trio.sleep(1000)
    assert view.end is not None
    return view.end.outcome


async def test_a_hatch_runs_to_its_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        started = await start(services)
        assert not started.existing
        assert services.sessions.running == 1
        assert await ended(started.view) == "done"
        await trio.lowlevel.checkpoint()
        assert services.sessions.running == 0
        assert (await services.sessions.view(ADA, started.view.session)).artifacts


async def test_a_redraw_writes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        hatch = HatchRequest(prompt="again", persona=PERSONA)
        view = (await services.sessions.start(ADA, Beginning(hatch=hatch))).view
        assert await ended(view) == "done"
        assert view.persona["name"] == PERSONA.name
        assert view.end is not None
        assert view.end.receipt.llm == "none"


# --- keys


async def test_the_same_key_and_hatch_is_the_same_session_even_when_it_has_ended(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with running_services(tmp_path) as services:
        first = await start(services, key="k")
        again = await start(services, key="k")
        await ended(first.view)
        later = await start(services, key="k")
        assert (again.existing, later.existing) == (True, True)
        assert again.view is later.view is first.view


async def test_an_omitted_field_and_its_default_are_the_same_hatch(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        await start(services, key="k")
        hatch = HatchRequest(prompt="a fox", persona=None, image=ImageOptions(steps=None))
        assert (await services.sessions.start(ADA, Beginning(hatch=hatch, key="k"))).existing


async def test_the_same_key_with_another_hatch_is_a_conflict_and_starts_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with running_services(tmp_path) as services:
        await start(services, key="k")
        with pytest.raises(KeyConflict) as refusal:
            await start(services, "an owl", key="k")
        assert refusal.value.field == "key"
        assert services.sessions.running == 1


async def test_keys_belong_to_their_owner(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        mine = await start(services, key="k")
        theirs = await start(services, "an owl", owner=EVE, key="k")
        assert mine.view is not theirs.view


async def test_starts_with_one_key_at_the_same_moment_are_one_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    found: list[Started] = []

    async def one(services: Services) -> None:
        found.append(await start(services, key="k"))

    async with running_services(tmp_path) as services:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one, services)
        assert len({started.view.session for started in found}) == 1
        assert sorted(started.existing for started in found) == [False] + [True] * 9


async def test_a_key_is_forgotten_after_its_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path, hatch__key_s=100) as services:
        first = await start(services, key="k")
        await trio.sleep(101)
        assert not (await start(services, "an owl", key="k")).existing
        assert first.view.end is not None


async def test_a_refused_start_does_not_use_up_its_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path, hatch__running=1) as services:
        first = await start(services)
        with pytest.raises(Overloaded):
            await start(services, "an owl", key="k")
        await ended(first.view)
        await trio.lowlevel.checkpoint()
        assert not (await start(services, "an owl", key="k")).existing


# --- cancelling


async def test_a_cancel_ends_the_hatch_and_may_be_repeated(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        view = (await start(services)).view
        await trio.sleep(1)
        for _ in range(3):
            assert await services.sessions.cancel(ADA, session=view.session, reason="enough") is view
            assert view.state in ("cancelling", "cancelled")
        assert await ended(view) == "cancelled"
        seq = view.seq
        await services.sessions.cancel(ADA, session=view.session, reason="late")
        assert (view.state, view.seq) == ("cancelled", seq)


async def test_a_cancel_after_the_end_changes_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        view = (await start(services, key="k")).view
        await ended(view)
        assert (await services.sessions.cancel(ADA, session=view.session, reason="late")).state == "done"
        assert await services.sessions.cancel_key(ADA, key="k", reason="late") is view


async def test_a_cancel_of_what_is_no_longer_kept_is_told_how_it_ended(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with running_services(tmp_path, hatch__retained=3) as services:
        done = (await start(services, key="k")).view
        await ended(done)
        for number in range(3):
            await ended((await start(services, f"fox {number}")).view)
        with pytest.raises(Gone):
            await services.sessions.view(ADA, done.session)
        late = await services.sessions.cancel(ADA, session=done.session, reason="late")
        assert late == done.epitaph()
        assert late.state == "done"
        for owner, session in ((EVE, done.session), (ADA, "nobody")):
            with pytest.raises(NotFound):
                await services.sessions.cancel(owner, session=session, reason="late")


async def test_a_cancel_by_key_waits_for_its_start(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        assert await services.sessions.cancel_key(ADA, key="k", reason="changed my mind") is None
        await trio.sleep(59)
        other = await start(services, owner=EVE, key="k")
        mine = await start(services, key="k")
        assert mine.view.state == "cancelling"
        assert await ended(mine.view) == "cancelled"
        assert await ended(other.view) == "done"
        again = await start(services, key="k")
        assert again.existing


async def test_a_cancel_by_key_is_remembered_for_a_minute_only(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        await services.sessions.cancel_key(ADA, key="k", reason="changed my mind")
        await trio.sleep(61)
        assert await ended((await start(services, key="k")).view) == "done"


async def test_a_cancel_at_the_very_moment_of_the_start_is_not_lost(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def cancel(services: Services, key: str, steps: int) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        view = await services.sessions.cancel_key(ADA, key=key, reason="at once")
        assert view is None or view.state in ("cancelling", "cancelled"), "an answer means that it is kept"

    async with running_services(tmp_path) as services:
        views = []
        for number in range(40):  # trio runs what is ready in either order
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, services, f"k{number}", number % 4)
                views.append((await start(services, key=f"k{number}")).view)
        for view in views:
            assert await ended(view) == "cancelled"


# --- owners


async def test_owners_see_only_their_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        mine = (await start(services)).view
        theirs = (await start(services, owner=EVE)).view
        with pytest.raises(NotFound):
            await services.sessions.view(EVE, mine.session)
        with pytest.raises(NotFound):
            await services.sessions.cancel(EVE, session=mine.session, reason="mischief")
        page = await services.sessions.list(EVE, states=None, limit=10, before=None)
        assert [item.session for item in page.items] == [theirs.session]
        assert await ended(mine) == "done"


async def test_unknown_and_pruned_sessions_are_told_apart(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path, hatch__retained=2) as services:
        views = [(await start(services)).view for _ in range(3)]
        for view in views:
            await ended(view)
        outcomes: list[object] = []
        for session in [view.session for view in views] + ["nobody"]:
            try:
                outcomes.append((await services.sessions.view(ADA, session)).state)
            except HatcheryError as error:
                outcomes.append(type(error))
        assert sorted(map(str, outcomes)) == sorted(map(str, [Gone, "done", "done", NotFound]))


async def test_a_listing_is_paged_newest_first(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        sessions = [(await start(services)).view.session for _ in range(7)]
        seen, before = [], None
        while True:
            page = await services.sessions.list(ADA, states=None, limit=3, before=before)
            seen += [item.session for item in page.items]
            before = page.before
            if before is None:
                break
        assert seen == sessions[::-1]
        running = frozenset(("writing", "queued"))
        assert len((await services.sessions.list(ADA, states=running, limit=9, before=None)).items) == 7  # type: ignore[arg-type]
        with pytest.raises(Invalid):
            await services.sessions.list(ADA, states=None, limit=3, before="?")


# --- bounds


@pytest.mark.parametrize(
    ("hatch", "error", "field"),
    [
        (HatchRequest(prompt="x" * 2001), TooLarge, "hatch.prompt"),
        (HatchRequest(prompt=" \n"), Invalid, "hatch.prompt"),
        (HatchRequest(prompt="a\0b"), Invalid, "hatch.prompt"),
        (HatchRequest(prompt="a", image=ImageOptions(width=4096, height=4096)), TooLarge, "hatch.image.width"),
        (HatchRequest(prompt="a", image=ImageOptions(height=4096 * 2)), TooLarge, "hatch.image.height"),
        (HatchRequest(prompt="a", image=ImageOptions(steps=101)), TooLarge, "hatch.image.steps"),
        (HatchRequest(prompt="a", image=ImageOptions(negative_prompt="a\0b")), Invalid, "hatch.image.negative_prompt"),
        (HatchRequest(prompt="a", image=ImageOptions(input="u1")), Invalid, "hatch.image.input"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_name_of_the_field(
    autojump_clock: MockClock, tmp_path: Path, hatch: HatchRequest, error: type[HatcheryError], field: str
) -> None:
    async with running_services(tmp_path) as services:
        with pytest.raises(error) as refusal:
            await services.sessions.start(ADA, Beginning(hatch=hatch, key="k"))
        assert refusal.value.field == field
        assert services.sessions.running == 0
        assert (await services.sessions.list(ADA, states=None, limit=9, before=None)).items == []


async def test_a_given_persona_is_validated(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        persona = Persona(**{name: getattr(PERSONA, name) for name in PERSONA.__struct_fields__} | {"name": "\0"})
        with pytest.raises(Invalid) as refusal:
            await services.sessions.start(ADA, Beginning(hatch=HatchRequest(prompt="a", persona=persona)))
        assert refusal.value.field == "hatch.persona.name"


async def test_over_capacity_nothing_is_started(autojump_clock: MockClock, tmp_path: Path) -> None:
    refused: list[Overloaded] = []

    async def one(services: Services) -> None:
        try:
            await start(services)
        except Overloaded as error:
            refused.append(error)

    async with running_services(tmp_path, hatch__running=3) as services:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one, services)
        assert services.sessions.running == 3
        assert len(refused) == 7
        assert all(error.retryable and error.retry_after_ms for error in refused)


async def test_stopping_ends_every_hatch_and_takes_no_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        views = [(await start(services, key=f"k{number}")).view for number in range(20)]
        await trio.sleep(2)
        await services.sessions.stop()
        assert services.sessions.running == 0
        with pytest.raises(Draining) as refusal:
            await start(services)
        assert refusal.value.retryable
        assert (await start(services, key="k0")).existing
        for view in views:
            assert view.end is not None
            assert view.end.outcome == "cancelled"


class Dawdler(ScriptedPainter):
    """Its worker ends a cancelled step in its own good time, unless told that there is no time."""

    def __init__(self) -> None:
        super().__init__()
        self._hurried = trio.Event()

    def hurry(self) -> None:
        self._hurried.set()

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(20, shield=True):
                await self._hurried.wait()
        raise AssertionError("it was cancelled")


async def test_stopping_is_in_a_hurry(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        services.sessions.workshop = msgspec.structs.replace(services.sessions.workshop, image=Dawdler())
        views = [(await start(services)).view for _ in range(2)]
        await trio.sleep(100)
        began = trio.current_time()
        await services.sessions.cancel(ADA, session=views[0].session, reason="enough")
        await services.sessions.stop()
        assert trio.current_time() == began
        assert [view.state for view in views] == ["cancelled"] * 2


async def test_stopping_waits_for_a_start_that_is_under_way(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path) as services:
        found: list[Started] = []

        async def one() -> None:
            found.append(await start(services))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            while not services.sessions.running:  # noqa: ASYNC110 - nothing announces it
                await trio.lowlevel.checkpoint()
            assert not found
            await services.sessions.stop()
        (started,) = found
        assert started.view.end is not None


async def test_nobody_watching_ends_a_hatch_that_said_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path, sim__step_s=60) as services:
        tied = (await start(services, on_disconnect="cancel", grace_s=10.0)).view
        kept = (await start(services)).view
        await trio.sleep(9)
        assert tied.state != "cancelling"
        await trio.sleep(2)
        assert await ended(tied) == "cancelled"
        assert await ended(kept) == "done"
