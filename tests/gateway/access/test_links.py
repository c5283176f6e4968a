"""Links with which anybody may watch one session, over a real gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.serve import Gateway
from tests.helpers.guarded import (
    ADA,
    guarded,
    http_client,
    wire_of,
)
from tests.helpers.problems import check_problem
from tests.helpers.wire import open_wire


@asynccontextmanager
async def _shared(gateway: Gateway, **hatch: Any) -> AsyncIterator[tuple[str, str]]:
    """A session of ada's that runs, and a link's token for it."""
    async with http_client(gateway, ADA) as ada:
        began = await ada.post("/v1/hatches", json={"prompt": "an owl", **hatch})
        link = await ada.post(f"{began.headers['location']}/links", json={})
        assert link.status_code == 201
        members = link.json()
        assert members["url"] == f"/#watch={members['watch_token']}"
        yield began.json()["session"], members["watch_token"]


async def test_a_link_shows_its_session_to_its_end(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, sim__tokens_per_s=200, sim__step_s=0.02) as gateway,
        _shared(gateway) as (session, link),
        open_wire(gateway.url, hello={"watch_token": link}) as guest,
    ):
        assert (await guest.ask("watch", session=session))["type"] == "snapshot"
        assert (await guest.end(session))["outcome"] == "done"
        assert guest.of(session, "progress")


async def test_a_guest_may_only_watch(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, _shared(gateway) as (session, link), wire_of(gateway) as ada:
        other = await ada.start("a cat")
        async with open_wire(gateway.url, hello={"watch_token": link}) as guest:
            for type_, fields in (
                ("start", {"hatch": {"prompt": "x"}}),
                ("cancel", {"session": session}),
                ("cancel", {"key": "k"}),
                ("list", {}),
                ("watch", {"session": other}),
                ("unwatch", {"session": other}),
                ("watch", {"session": "unknown"}),
            ):
                error = await guest.ask(type_, **fields)
                assert (error["type"], error["code"]) == ("error", "forbidden"), type_
            assert (await guest.ask("ping"))["type"] == "pong"
            assert (await guest.ask("watch", session=session))["type"] == "snapshot"
            assert (await guest.ask("unwatch", session=session))["type"] == "ok"
        cursors = [{"session": name, "epoch": 9, "seq": 0, "offset": 0} for name in (session, other)]
        async with open_wire(gateway.url, hello={"watch_token": link, "resume": cursors}) as guest:
            assert [found["result"] for found in guest.heard[0]["resumed"]] == ["snapshot", "gone"]
        async with open_wire(gateway.url, greet=False) as guest:
            assert (await guest.ask("hello", watch_token=link, follow="mine"))["code"] == "forbidden"
        async with http_client(gateway, link) as http:
            check_problem(await http.get(f"/v1/hatches/{session}"), 401, "unauthenticated")
        assert len((await ada.ask("list"))["items"]) == 2


async def test_a_guest_neither_ends_nor_keeps_alive_what_ends_with_its_owner(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path) as gateway,
        http_client(gateway, ADA) as http,
        open_wire(gateway.url, greet=False) as guest,
    ):
        async with wire_of(gateway) as ada:
            session = await ada.start(on_disconnect="cancel", grace_s=0.0)
            link = (await http.post(f"/v1/hatches/{session}/links", json={})).json()["watch_token"]
            await guest.ask("hello", watch_token=link)
            await guest.ask("watch", session=session)
            await guest.ask("unwatch", session=session)
            assert (await guest.ask("watch", session=session))["type"] == "snapshot"
            assert (await http.get(f"/v1/hatches/{session}")).json()["state"] not in ("cancelling", "cancelled")
        assert (await guest.end(session))["outcome"] == "cancelled"


async def test_a_link_ends_with_its_time_also_for_who_is_in(tmp_path: Path) -> None:
    async with guarded(tmp_path, access__link_s=2.0) as gateway, _shared(gateway) as (_, link):
        async with open_wire(gateway.url, hello={"watch_token": link}) as guest:
            assert await guest.closed() == 4501
        async with open_wire(gateway.url, greet=False) as late:
            assert (await late.ask("hello", watch_token=link))["code"] == "unauthenticated"
            assert await late.closed() == 4501
