"""Both Python clients on real gateways: to the end, across cut connections and restarts, with tokens and refusals."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from gateway.access.auth import new_token
from gateway.client import Disconnected, HatchEvent, View, connect_sync, open_client
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import Forbidden, Invalid, KeyConflict, NotFound, Unauthenticated
from protocol.events import End, Snapshot, Text
from tests.helpers.crashes import Site, stop
from tests.helpers.gateways import running_gateway
from tests.helpers.proxy import open_proxy

FAST: Final[dict[str, Any]] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
PACE: Final[dict[str, Any]] = {"sim__tokens_per_s": 300, "sim__step_s": 0.02, "wire__tick_ms": 5}
PNG: Final = b"\x89PNG"


class Told(msgspec.Struct, kw_only=True):
    """What one reader got of a hatch, and what the gateway itself says of it afterwards."""

    events: list[HatchEvent]
    end: End
    view: Any
    kept: dict[str, Any]
    picture: bytes


Disturb = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """Leave it alone."""


async def hatch_concurrently(url: str, disturb: Disturb = _nothing, token: str | None = None) -> Told:
    """A whole hatch on trio; `disturb` is called when the first text has been read."""
    events: list[HatchEvent] = []
    async with open_client(url, token=token) as client, client.hatch("an owl") as hatch:
        async for event in hatch:
            if isinstance(event, Text) and not any(isinstance(earlier, Text) for earlier in events):
                await disturb()
            events.append(event)
        kept = msgspec.json.decode(await client.fetch(f"/v1/hatches/{hatch.session}"))
        picture = await client.fetch(hatch.view.artifacts[0])
        return Told(events=events, end=await hatch.done(), view=hatch.view, kept=kept, picture=picture)


async def hatch_synchronously(url: str, disturb: Disturb = _nothing, token: str | None = None) -> Told:
    """The same in a thread, without an event loop there."""

    def run() -> Told:
        events: list[HatchEvent] = []
        with connect_sync(url, token=token) as client, client.hatch("an owl") as hatch:
            for event in hatch:
                if isinstance(event, Text) and not any(isinstance(earlier, Text) for earlier in events):
                    trio.from_thread.run(disturb)
                events.append(event)
            kept = msgspec.json.decode(client.fetch(f"/v1/hatches/{hatch.session}"))
            picture = client.fetch(hatch.view.artifacts[0])
            return Told(events=events, end=hatch.done(), view=hatch.view, kept=kept, picture=picture)

    return await trio.to_thread.run_sync(run)


both = pytest.mark.parametrize("hatch", [hatch_concurrently, hatch_synchronously])
Way = Callable[..., Awaitable[Told]]


def check(told: Told) -> None:
    """The events alone amount to what the gateway keeps; one end, which is the last word."""
    assert told.end.outcome == "done"
    assert isinstance(told.events[0], Snapshot)
    folded = View()
    for event in told.events:
        assert folded.take(event), event
    assert folded.cursor == told.view.cursor
    assert folded.partial == told.kept["persona"] == msgspec.to_builtins(told.view.persona)
    assert folded.end == told.end
    assert [isinstance(event, End) or bool(getattr(event, "end", None)) for event in told.events].index(True) == (
        len(told.events) - 1
    )
    assert told.picture.startswith(PNG)


@both
async def test_a_hatch_is_read_to_its_end(tmp_path: Path, hatch: Way) -> None:
    async with running_gateway(tmp_path, **FAST) as gateway:
        with trio.fail_after(20):
            check(await hatch(gateway.url))


@both
async def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path, hatch: Way) -> None:
    async with (
        open_proxy("") as proxy,
        running_gateway(tmp_path, server__public_urls=[proxy.url], **PACE) as gateway,
    ):
        proxy.target = gateway.url

        async def cut() -> None:
            proxy.cut()

        with trio.fail_after(30):
            told = await hatch(proxy.url, cut)
    check(told)
    assert len([event for event in told.events if isinstance(event, Snapshot)]) == 2
    assert {event.epoch for event in told.events if isinstance(event, Snapshot)} == {1}


@both
async def test_a_killed_gateway_that_comes_back_is_found_again(tmp_path: Path, hatch: Way) -> None:
    environ = {"HATCHERY_SIM_TOKENS_PER_S": "300", "HATCHERY_SIM_STEP_S": "0.02"}
    with trio.fail_after(60):
        async with open_proxy("") as proxy, trio.open_nursery() as nursery:
            public = {"HATCHERY_SERVER_PUBLIC_URLS": proxy.url}
            site = Site(tmp_path, environ | public, "--llm", "sim", "--image", "sim")
            child = await nursery.start(site.run)
            proxy.target = site.url

            async def restart() -> None:
                nonlocal child
                await stop(child, signal.SIGKILL)
                child = await nursery.start(site.run)
                proxy.target = site.url

            told = await hatch(proxy.url, restart)
            await stop(child, signal.SIGKILL)
    check(told)
    assert [event.epoch for event in told.events if isinstance(event, Snapshot)][-1] == 2


@both
async def test_a_token_opens_the_door_and_goes_with_files(tmp_path: Path, hatch: Way) -> None:
    token, line = new_token("ada")
    async with running_gateway(tmp_path, access__tokens=[line], **FAST) as gateway:
        with trio.fail_after(20):
            check(await hatch(gateway.url, token=token))
            for wrong in (None, "wrong"):
                with pytest.raises(Unauthenticated):
                    await hatch(gateway.url, token=wrong)


@both
async def test_where_no_gateway_is_that_is_said_at_once(hatch: Way) -> None:
    with trio.fail_after(5), pytest.raises(Disconnected) as raised:
        await hatch("http://127.0.0.1:1")
    assert raised.value.code == 1006


# --- what is refused


async def test_refusals_are_exceptions_by_code_and_leave_the_block_as_they_are(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **PACE) as gateway:

        def refused_here() -> None:
            with connect_sync(gateway.url) as client:
                with pytest.raises(Invalid, match="empty"), client.hatch(" "):
                    pass
                with pytest.raises(NotFound), client.watch("0" * 20):
                    pass
                with pytest.raises(Forbidden):
                    client.fetch(f"/v1/artifacts/{'0' * 64}?expires=1&signature=x")

        with trio.fail_after(20):
            with pytest.raises(Invalid) as raised:
                async with open_client(gateway.url) as client, client.hatch(" "):
                    pass
            assert raised.value.field == "hatch.prompt"
            async with open_client(gateway.url) as client:
                with pytest.raises(NotFound):
                    async with client.watch("0" * 20):
                        pass
                async with client.hatch("an owl", key="k"):
                    with pytest.raises(KeyConflict):
                        async with client.hatch("a fox", key="k"):
                            pass
                with pytest.raises(NotFound):
                    await client.fetch("/v1/agents/none")
            await trio.to_thread.run_sync(refused_here)


# --- leaving and cancelling


async def test_leaving_lets_a_hatch_go_on_and_anybody_else_may_end_it(tmp_path: Path) -> None:
    request = HatchRequest(prompt="an owl", image=ImageOptions(seed=7))
    async with running_gateway(tmp_path, sim__tokens_per_s=5) as gateway:
        with trio.fail_after(20):
            async with open_client(gateway.url) as client, client.hatch(request, key="k") as hatch:
                session = hatch.session
            async with open_client(gateway.url, name="other/1") as other:
                (item,) = (await other.list(states=["queued", "writing"])).items
                assert item.session == session
                async with other.watch(session, max_hz=2) as watched, other.hatch(request, key="k") as again:
                    assert again.session == session
                    assert (await watched.cancel("enough")).session == session
                    assert (await watched.done()).outcome == (await again.done()).outcome == "cancelled"


async def _ended(gateway_url: str, key_holder: str) -> str:
    async with open_client(gateway_url) as client, client.watch(key_holder) as hatch:
        return (await hatch.done()).outcome


async def test_one_may_leave_and_take_the_hatch_along_also_when_cancelled(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, sim__tokens_per_s=5) as gateway:
        sessions: list[str] = []

        def leave_synchronously() -> None:
            with connect_sync(gateway.url) as client, client.hatch("a fox", cancel_on_exit=True) as hatch:
                sessions.append(hatch.session)

        with trio.fail_after(20):
            with trio.CancelScope() as scope:
                async with open_client(gateway.url) as client, client.hatch("an owl", cancel_on_exit=True) as hatch:
                    sessions.append(hatch.session)
                    scope.cancel()
                    await trio.sleep_forever()
            await trio.to_thread.run_sync(leave_synchronously)
            assert [await _ended(gateway.url, session) for session in sessions] == ["cancelled"] * 2


async def test_many_hatches_share_one_connection(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def one(client: Any, number: int) -> None:
        async with client.hatch(f"owl {number}") as hatch:
            outcomes.append((await hatch.done()).outcome)

    async with (
        open_proxy("") as proxy,
        running_gateway(tmp_path, server__public_urls=[proxy.url], llm__slots=8, image__slots=8, **FAST) as gateway,
    ):
        proxy.target = gateway.url
        with trio.fail_after(30):
            async with open_client(proxy.url) as client, trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(one, client, number)
        assert proxy.connections == 1
    assert outcomes == ["done"] * 8


async def test_who_loses_patience_is_told_everywhere_that_waits(tmp_path: Path) -> None:
    async with (
        open_proxy("") as proxy,
        running_gateway(tmp_path, server__public_urls=[proxy.url], sim__tokens_per_s=5) as gateway,
    ):
        proxy.target = gateway.url
        with trio.fail_after(20):
            async with open_client(proxy.url, patience_s=0.1) as client, client.hatch("an owl") as hatch:
                proxy.cut()
                with pytest.raises(Disconnected):
                    await hatch.done()
                with pytest.raises(Disconnected):
                    await client.list()
