"""A wall clock that jumps back and forth by an hour, as clocks do: nothing that takes time may go by it."""

import itertools
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from gateway.services import open_services
from tests.helpers.contract import check_messages
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import open_wire

HOUR_S = 3600.0
JUMPS = (HOUR_S, -HOUR_S, 0.0, -2 * HOUR_S, 2 * HOUR_S)


class JumpingClock:
    """Seconds since 1970, and `off_s` more."""

    def __init__(self) -> None:
        self.off_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.off_s

    async def keep_jumping(self) -> None:
        for self.off_s in itertools.cycle(JUMPS):
            await trio.sleep(0.02)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """The wall clock of every gateway that is opened."""
    clock = JumpingClock()
    monkeypatch.setattr("gateway.serve.open_services", partial(open_services, now_s=clock))
    return clock


async def test_hatches_heartbeats_and_keys_do_not_mind(tmp_path: Path, clock: JumpingClock) -> None:
    pace: dict[str, Any] = {
        "sim__tokens_per_s": 500,
        "sim__step_s": 0.1,
        "server__heartbeat_s": 0.5,
        "server__hello_s": 1.0,
    }
    async with running_gateway(tmp_path, **pace) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(clock.keep_jumping)
        began = trio.current_time()
        async with open_wire(gateway.url) as wire:
            first = await wire.start(key="once")
            assert (await wire.end(first))["outcome"] == "done"
            for _ in range(10):  # one after the other, each at another hour
                again = await wire.ask("start", key="once", hatch={"prompt": "a fox"}, watch=False)
                assert (again["type"], again["existing"], again["session"]) == ("accepted", True, first)
                await trio.sleep(0.02)
            second = await wire.start("a bear")
            receipt = (await wire.end(second))["receipt"]
            assert 0 <= receipt["total_ms"] <= (trio.current_time() - began) * 1000
            listed = [item["session"] for item in (await wire.ask("list"))["items"]]
            assert listed == [second, first], "newest first, whatever the hour was"
            for session in (first, second):
                check_messages(wire.typed(), session)
        assert trio.current_time() - began > 1.0, "some heartbeats long"
        nursery.cancel_scope.cancel()


async def test_a_signed_address_works_an_hour_off_and_is_renewed_when_it_has_expired(
    tmp_path: Path, clock: JumpingClock
) -> None:
    pace: dict[str, Any] = {"sim__tokens_per_s": 5000, "sim__step_s": 0.001}
    async with (
        running_gateway(tmp_path, **pace, hatch__artifact_url_s=2 * HOUR_S) as gateway,
        open_wire(gateway.url) as wire,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        session = await wire.start()
        await wire.end(session)
        (artifact,) = wire.of(session, "artifact")
        for clock.off_s in (0.0, HOUR_S, -HOUR_S):
            assert (await http.get(artifact["url"])).status_code == 200
        clock.off_s = 3 * HOUR_S
        assert (await http.get(artifact["url"])).status_code == 410
        snapshot = await wire.ask("watch", session=session)
        assert (await http.get(snapshot["artifacts"][0]["url"])).status_code == 200
