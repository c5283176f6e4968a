"""Leashes alone, then scenarios with all that attaches and detaches."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from math import inf
from pathlib import Path

import trio
from starlette.types import Message
from trio.testing import MockClock

from gateway.live.hub import Watcher
from gateway.live.leash import Leashes
from gateway.live.sessions import Beginning
from gateway.live.ticker import Ticker
from gateway.net.transport import PeerGone
from gateway.services import Services
from protocol.codec import Codec
from protocol.commands import HatchRequest
from protocol.view import SessionView
from tests.helpers.gateways import running_services

GRACE = 30.0


class Cuts:
    """The leashes under test, and the (time, session) of every cut."""

    def __init__(self, ticker: Ticker) -> None:
        self.made: list[tuple[float, str]] = []
        self.leashes = Leashes(ticker, lambda session: self.made.append((round(trio.current_time(), 3), session)))

    def accept(self, session: str, grace_s: float = GRACE) -> None:
        self.leashes.tie(session, grace_s)
        self.leashes.detached(session)


@asynccontextmanager
async def open_cuts() -> AsyncIterator[Cuts]:
    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        await nursery.start(ticker.run)
        yield Cuts(ticker)
        nursery.cancel_scope.cancel()


async def test_never_watched_counts_from_accepted(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        await trio.sleep(5)
        cuts.accept("s")
        await trio.sleep(100)
    assert cuts.made == [(35.0, "s")]


async def test_the_grace_begins_when_the_last_of_several_watchers_leaves(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.attached("s")
        cuts.leashes.attached("s")
        await trio.sleep(100)
        cuts.leashes.detached("s")
        await trio.sleep(100)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == [(230.0, "s")]


async def test_coming_back_in_time_stops_it_and_leaving_again_begins_it_afresh(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        await trio.sleep(GRACE - 1)
        cuts.leashes.attached("s")
        await trio.sleep(GRACE)
        cuts.leashes.detached("s")
        await trio.sleep(GRACE - 1)
        assert cuts.made == []
        await trio.sleep(2)
    assert cuts.made == [(89.0, "s")]


async def test_a_watcher_that_attached_before_the_start_was_accepted_counts(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.leashes.tie("s", GRACE)
        cuts.leashes.attached("s")  # a follower
        cuts.leashes.detached("s")  # accepted
        cuts.leashes.attached("s")  # whoever started it
        cuts.leashes.detached("s")
        await trio.sleep(100)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == [(130.0, "s")]


async def test_without_grace_it_is_cut_at_once_but_not_before_the_starter_could_attach(
    autojump_clock: MockClock,
) -> None:
    async with open_cuts() as cuts:
        cuts.leashes.tie("s", 0)
        await trio.sleep(1)  # the start is under way
        cuts.leashes.detached("s")
        cuts.leashes.attached("s")
        await trio.sleep(10)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(1)
    assert cuts.made == [(11.0, "s")]


async def test_an_ended_session_is_not_cut(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.untie("s")
        cuts.leashes.attached("s")
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == []


async def test_sessions_without_a_leash_are_left_alone(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.attached("s")
        cuts.leashes.attached("free")
        cuts.leashes.detached("free")
        await trio.sleep(100)
    assert cuts.made == []


# --- scenarios: a hatch of Ada's that would go on for ever, and who watches it

ADA, EVE = "ada", "eve"


class Ear:
    """A socket that takes everything."""

    def __init__(self) -> None:
        self.deflate = False
        self.backlog = 0
        self.last_accepted = trio.current_time()
        self.on_writable: Callable[[], None] = lambda: None

    def try_write(self, data: bytes) -> bool:
        return True

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError


class Scene:
    """What people do, and whether the hatch outlives it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.view: SessionView

    @contextmanager
    def client(self, owner: str = ADA, *, follows: bool = False) -> Iterator[Watcher]:
        with self.services.hub.join(owner, Codec.JSON, Ear()) as watcher:
            if follows:
                self.services.hub.follow(watcher)
            yield watcher

    async def start(self, starter: Watcher | None, grace_s: float = GRACE) -> None:
        beginning = Beginning(hatch=HatchRequest(prompt="a fox"), on_disconnect="cancel", grace_s=grace_s)
        self.view = (await self.services.sessions.start(ADA, beginning, starter)).view

    def watch(self, watcher: Watcher) -> None:
        self.services.hub.attach(watcher, self.view)

    async def check_goes_on(self) -> None:
        await trio.sleep(10 * GRACE)
        assert self.view.end is None

    async def check_ends_after(self, grace_s: float = GRACE) -> None:
        await trio.sleep(grace_s - 0.5)
        assert self.view.end is None
        await trio.sleep(1)
        assert self.view.end is not None
        assert self.view.end.outcome == "cancelled"


@asynccontextmanager
async def open_scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with running_services(tmp_path, sim__step_s=1e6) as services:
        yield Scene(services)


async def test_a_follower_keeps_what_another_one_has_started(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene, scene_client(scene, follows=True) as leave_follower:
        with scene.client() as starter:
            await scene.start(starter)
            scene.watch(starter)
            await scene.check_goes_on()
        await scene.check_goes_on()
        leave_follower()
        await scene.check_ends_after()


async def test_the_starter_keeps_it_when_its_follower_leaves(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene, scene_client(scene, follows=True) as leave_follower:
        with scene.client() as starter:
            await scene.start(starter)
            scene.watch(starter)
            leave_follower()
            await scene.check_goes_on()
        await scene.check_ends_after()


async def test_followers_alone_keep_it_until_the_last_has_left(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        with scene.client(follows=True):
            with scene.client(follows=True):
                await scene.start(None)
                await scene.check_goes_on()
            await scene.check_goes_on()
        await scene.check_ends_after()


async def test_without_grace_a_follower_keeps_it_too(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        with scene.client(follows=True):
            await scene.start(None, grace_s=0.0)
            await scene.check_goes_on()
        await trio.sleep(1)
        assert scene.view.end is not None


async def test_a_follower_who_also_watches_counts_once_and_unwatching_is_leaving(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_scene(tmp_path) as scene:
        with scene.client(follows=True) as follower:
            await scene.start(follower)
            scene.watch(follower)
            scene.watch(follower)
            scene.services.hub.detach(follower, scene.view.session)
            scene.services.hub.detach(follower, scene.view.session)
            await scene.check_ends_after()


async def test_whoever_comes_back_after_everybody_left_keeps_it(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        with scene.client(follows=True):
            await scene.start(None)
        await trio.sleep(GRACE - 1)
        with scene.client() as back:
            scene.watch(back)
            await scene.check_goes_on()
        await scene.check_ends_after()


async def test_nobody_ever_watches(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.start(None)
        await scene.check_ends_after()


async def test_guests_and_others_keep_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        with scene.client(owner="") as guest, scene.client(owner=EVE, follows=True):
            await scene.start(None)
            scene.watch(guest)
            await scene.check_ends_after()


async def test_a_stream_of_events_keeps_it_until_its_reader_leaves(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        await trio.lowlevel.checkpoint()

    hung_up = trio.Event()
    async with open_scene(tmp_path) as scene, trio.open_nursery() as nursery:
        await scene.start(None)

        async def read() -> None:
            with suppress(PeerGone):
                await scene.services.streams.serve(ADA, scene.view, None, lambda: inf, receive, send)

        nursery.start_soon(read)
        await scene.check_goes_on()
        hung_up.set()
        await scene.check_ends_after()


@asynccontextmanager
async def scene_client(scene: Scene, *, follows: bool) -> AsyncIterator[Callable[[], None]]:
    """A client who leaves when that is called, or at the end."""
    with ExitStack() as stack:
        stack.enter_context(scene.client(follows=follows))
        yield stack.close
