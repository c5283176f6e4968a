"""Cancels over a real WebSocket: answered, shown and ended, twice, late, together, by key."""

from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.serve import Gateway
from tests.helpers.contract import check_messages
from tests.helpers.dialogues import SLOW_DRAWING, SLOW_WRITING, in_state, sole
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import open_wire


@pytest.mark.parametrize("settings", [SLOW_WRITING, SLOW_DRAWING], ids=["writing", "drawing"])
async def test_a_cancel_is_answered_then_shown_then_ended(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with running_gateway(tmp_path, **settings) as gateway, open_wire(gateway.url) as wire:
        session = await wire.start()
        await in_state(wire, session, "writing" if settings is SLOW_WRITING else "drawing")
        ok = await wire.ask("cancel", session=session, reason="enough")
        assert set(ok) == {"type", "id", "session", "epoch", "seq", "offset", "state"}
        assert (ok["type"], ok["session"]) == ("ok", session)
        assert ok["state"] in ("cancelling", "cancelled")
        end = await wire.end(session)
        assert end["outcome"] == "cancelled"
        assert end["receipt"]["cancel_latency_ms"] >= 0
        cancelling = sole([message for message in wire.of(session, "state") if message["state"] == "cancelling"])
        assert cancelling["reason"] == "enough"
        check_messages(wire.typed(), session)


async def test_cancelling_twice_late_and_from_elsewhere_is_ok(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire, open_wire(drawing.url) as other:
        session = await wire.start(key="k")
        await in_state(wire, session, "drawing")
        twice = [
            {"type": "cancel", "id": 1, "session": session},
            {"type": "cancel", "id": 2, "key": "k"},
        ]
        await other.send(*twice)
        assert [(await other.answer(id_))["type"] for id_ in (1, 2)] == ["ok", "ok"]
        assert (await wire.end(session))["outcome"] == "cancelled"
        late = await other.ask("cancel", session=session)
        assert (late["type"], late["state"]) == ("ok", "cancelled")
        check_messages(wire.typed(), session)


async def test_cancels_in_one_frame_do_not_wait_for_each_other(
    drawing: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, entered, together = drawing.services.sessions, [], trio.Event()
    cancel = sessions.cancel

    async def cancel_together(owner: str, *, session: str, reason: str) -> Any:
        entered.append(session)
        if len(entered) == 3:
            together.set()
        await together.wait()
        return await cancel(owner, session=session, reason=reason)

    monkeypatch.setattr(sessions, "cancel", cancel_together)
    async with open_wire(drawing.url) as wire:
        hatches = [await wire.start("a fox") for _ in range(3)]
        with trio.fail_after(10):
            await wire.send(*({"type": "cancel", "id": session, "session": session} for session in hatches))
            for session in hatches:
                assert (await wire.end(session))["outcome"] == "cancelled"


async def test_a_cancel_after_a_good_end_leaves_it_good(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        session = await wire.start(key="k")
        await wire.end(session)
        for named in ({"session": session}, {"key": "k"}):
            assert (await wire.ask("cancel", **named))["state"] == "done"


async def test_a_cancel_by_key_may_come_before_its_start(drawing: Gateway) -> None:
    async with open_wire(drawing.url) as wire, open_wire(drawing.url) as other:
        ok = await other.ask("cancel", key="k")
        assert set(ok) == {"type", "id"}
        accepted = await wire.ask("start", key="k", hatch={"prompt": "a fox"})
        assert (accepted["type"], accepted["existing"]) == ("accepted", False)
        assert (await wire.end(accepted["session"]))["outcome"] == "cancelled"
        check_messages(wire.typed(), accepted["session"])


@pytest.mark.parametrize("named", [{}, {"session": "s", "key": "k"}])
async def test_a_cancel_names_one_thing(gateway: Gateway, named: dict[str, str]) -> None:
    async with open_wire(gateway.url) as wire:
        error = await wire.ask("cancel", **named)
        assert (error["code"], error["field"]) == ("invalid", "session")


async def test_unknown_sessions_are_not_found(gateway: Gateway) -> None:
    async with open_wire(gateway.url) as wire:
        for type_ in ("cancel", "watch", "unwatch"):
            error = await wire.ask(type_, session="nobody")
            assert set(error) == {"type", "id", "session", "code", "message", "retryable"}
            assert (error["code"], error["session"], error["retryable"]) == ("not_found", "nobody", False)
