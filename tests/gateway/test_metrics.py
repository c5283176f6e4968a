import time
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import prometheus_client
import pytest
import trio
import trio.testing
import trio_websocket
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from gateway.clients.connection import open_connection
from gateway.clients.policy import Disconnected
from gateway.live.sessions import Beginning
from gateway.live.ticker import Ticker
from gateway.metrics import CODES, OWN_CODES, Metrics
from gateway.services import Services
from protocol.commands import Cancel, HatchRequest, Hello, ImageOptions, Start
from protocol.events import End, Progress, Stage, Text
from protocol.forecast import Range
from protocol.journal import Entry, EpochBegun
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, record_of
from tests.helpers.gateways import PERSONA, listening_client, running_gateway, running_services

FAST: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.01}
ONE_AT_A_TIME: dict[str, Any] = {"llm__slots": 1, "image__slots": 1, "sim__tokens_per_s": 1}

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Values by name and label values, in the order of the labels' names."""
    families = text_string_to_metric_families(text)
    return {
        (
            sample.name.removeprefix("hatchery_"),
            tuple(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def now_in(metrics: Metrics) -> Samples:
    return samples(prometheus_client.generate_latest(metrics.registry).decode())


def count(found: Samples, name: str, *labels: str) -> float:
    return found.get((name, labels), 0.0)


# --- over HTTP


async def test_known_traffic_is_counted_right(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, **FAST, hatch__durable=False) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        with trio.fail_after(20):
            async with listening_client(gateway) as client:
                for number in range(3):
                    hatch = HatchRequest(prompt="an owl", image=ImageOptions(steps=4))
                    accepted = await client.start(hatch, id=10 + number)
                    assert (await client.end(accepted.session)).outcome == "done"
                await client.send(Cancel(id=20, key="early"), Start(id=21, key="early", hatch=HatchRequest(prompt="a")))
                await client.until(End, lambda end: end.outcome == "cancelled")
                answer = await http.get("/metrics")
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/plain; version=")
            found = samples((await http.get("/metrics")).text)
    assert count(found, "hatches_ended_total", "", "done") == 3
    assert count(found, "hatches_ended_total", "", "cancelled") == 1
    assert count(found, "step_seconds_count") == 12
    assert count(found, "eta_error_ratio_count") == 3
    assert count(found, "cancel_latency_seconds_count") == 1
    assert count(found, "websocket_closes_total", "1000") == 1
    assert count(found, "connections") == 0
    assert count(found, "outbox_bytes") == 0
    assert sum(value for (name, _), value in found.items() if name == "sessions") == 0


async def test_openmetrics_is_spoken_to_those_who_ask_for_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, headers=headers) as http:
            answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_every_way_to_close_is_counted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, server__hello_s=0.2) as gateway:
        address = gateway.url.replace("http", "ws") + "/v1/ws"
        with trio.fail_after(10):
            for code in (4999, 3999):
                async with trio_websocket.open_websocket_url(address) as websocket:
                    await websocket.aclose(code=code)
            async with open_connection(gateway.url) as silent:
                with pytest.raises(Disconnected):
                    async for _ in silent.messages():
                        pass
        metrics = gateway.services.metrics
        found = now_in(metrics)
        assert count(found, "websocket_closes_total", "other") == 2
        assert count(found, "websocket_closes_total", "4502") == 1


async def test_a_client_that_the_gateway_leaves_is_counted_too(tmp_path: Path) -> None:
    async def watch(url: str, task_status: trio.TaskStatus[None]) -> None:
        async with open_connection(url) as client:
            await client.send(Hello(id=1))
            messages = client.messages()
            await anext(messages)
            task_status.started()
            with pytest.raises(Disconnected):
                async for _ in messages:
                    pass

    async with trio.open_nursery() as nursery, running_gateway(tmp_path) as gateway:  # noqa: ASYNC112
        await nursery.start(watch, gateway.url)  # noqa: ASYNC111 - it is to outlive the gateway
    assert count(now_in(gateway.services.metrics), "websocket_closes_total", "1001") == 1


def test_clients_cannot_make_up_series() -> None:
    metrics = Metrics()
    for code in range(6000):
        metrics.count_close(code)
    codes = [labels for name, labels in now_in(metrics) if name == "websocket_closes_total"]
    assert len(codes) == len(CODES | OWN_CODES) + 1


# --- gauges


async def _start(services: Services, **options: Any) -> SessionView:
    hatch = HatchRequest(prompt="a fox", **options)
    return (await services.sessions.start("ada", Beginning(hatch=hatch))).view


async def test_sessions_slots_and_queues_are_what_they_are_when_asked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with running_services(tmp_path, **ONE_AT_A_TIME, sim__step_s=100, sim__jitter=0) as services:
        metrics = services.metrics
        metrics.watch(services.hub, services.sessions.workshop)
        for _ in range(3):
            await _start(services)
        for _ in range(2):
            await _start(services, persona=PERSONA)
        await trio.sleep(7)
        found = now_in(metrics)
        await services.sessions.stop()
        after = now_in(metrics)
    states = {labels[0]: value for (name, labels), value in found.items() if name == "sessions"}
    assert states == {"queued": 2, "writing": 1, "waiting": 1, "drawing": 1, "cancelling": 0}
    for slots, waiting in (("llm", 2), ("render", 1)):
        assert count(found, "queue_length", slots) == waiting
        assert 6 < count(found, "queue_age_seconds", slots) <= 7
        assert [count(found, "slots", slots, use) for use in ("held", "free", "quarantined")] == [1, 0, 0]
        assert [count(after, "slots", slots, use) for use in ("held", "free", "quarantined")] == [0, 1, 0]
        assert count(after, "queue_age_seconds", slots) == count(after, "queue_length", slots) == 0
    assert count(after, "hatches_ended_total", "", "cancelled") == count(after, "cancel_latency_seconds_count") == 5


async def test_failures_are_counted_by_code(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with running_services(tmp_path, sim__failures=1) as services:
        await _start(services)
        await trio.sleep(1000)
        found = now_in(services.metrics)
    failed = {labels: value for (name, labels), value in found.items() if name == "hatches_ended_total"}
    assert failed == {("image_failed", "failed"): 1}


async def test_what_a_slow_client_loses_is_counted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, wire__outbox_bytes=100) as gateway, open_connection(gateway.url) as client:
        await client.send(Hello(id=1))  # whose answer alone is more
        with pytest.raises(Disconnected):
            async for _ in client.messages():
                pass
        found = now_in(gateway.services.metrics)
    assert count(found, "outbox_drops_total", "client") == 1


# --- what sessions say


async def test_attempts_after_the_first_are_counted_by_who_failed() -> None:
    metrics = Metrics()

    def hear(session: str, *entries: Entry) -> None:
        view = views.setdefault(session, SessionView(record_of(session)))
        for entry in entries:
            view.apply(entry)
        metrics.hear(view, entries)

    def epoch(session: str, number: int, attempt: int, keeps: bool) -> EpochBegun:
        return EpochBegun(session=session, epoch=number, attempt=attempt, state="waiting", keeps_persona=keeps)

    views: dict[str, SessionView] = {}
    hear("a", Progress(session="a", percent=0, stage="persona", basis="measured", message=""))
    hear("a", epoch("a", 2, 1, False))  # a repair of the persona is no restart
    hear("a", epoch("a", 3, 2, False))
    hear("a", epoch("a", 4, 3, True))
    hear("b", epoch("b", 7, 4, True))  # left by an earlier process
    found = now_in(metrics)
    assert [count(found, "restarts_total", who) for who in ("llm", "mflux", "gateway")] == [1, 1, 1]


async def test_the_first_estimate_of_a_drawing_is_held_against_the_truth(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with running_services(tmp_path, **FAST) as services:
        view = await _start(services)
        await trio.sleep(1000)
        assert view.end is not None
        end = view.end
    metrics = Metrics()
    told = SessionView(record_of("s1"))
    estimates: list[tuple[Stage, Range]] = [
        ("persona", (1.0, 2.0)),
        ("waiting", (3.0, 4.0)),
        ("loading", (15.0, 20.0)),
        ("steps", (2.0, 3.0)),
    ]
    for stage, eta_s in estimates:
        shown = Progress(session="s1", percent=40, stage=stage, basis="estimated", message="", eta_s=eta_s)
        metrics.hear(told, [shown, shown])
        await trio.sleep(5)
    metrics.hear(told, [End(session="s1", seq=1, outcome="done", receipt=end.receipt)])
    found = now_in(metrics)
    assert end.receipt.engines != ENGINES
    assert count(found, "eta_error_ratio_count") == 1
    assert count(found, "eta_error_ratio_sum") == pytest.approx(0.5)  # 15 s were said, and 10 s it took
    assert (count(found, "etas_total"), count(found, "etas_exceeded_total")) == (1, 0)


@pytest.mark.parametrize(("took_s", "exceeded"), [(9.0, 0), (19.0, 0), (21.0, 1)])
async def test_drawings_that_take_longer_than_their_p90_are_counted(
    autojump_clock: MockClock, tmp_path: Path, took_s: float, exceeded: int
) -> None:
    async with running_services(tmp_path, **FAST) as services:
        view = await _start(services)
        await trio.sleep(1000)
        assert view.end is not None
        receipt = view.end.receipt
    metrics = Metrics()
    shown = Progress(session="s1", percent=40, stage="loading", basis="estimated", message="", eta_s=(10.0, 20.0))
    for session in ("s1", "s2"):
        metrics.hear(SessionView(record_of(session)), [msgspec.structs.replace(shown, session=session)])
    await trio.sleep(took_s)
    metrics.hear(SessionView(record_of("s1")), [End(session="s1", seq=1, outcome="done", receipt=receipt)])
    metrics.hear(SessionView(record_of("s2")), [End(session="s2", seq=1, outcome="cancelled", receipt=receipt)])
    found = now_in(metrics)
    assert (count(found, "etas_total"), count(found, "etas_exceeded_total")) == (1, exceeded)


# --- the loop


async def test_a_loop_that_keeps_up_shows_no_lag(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    metrics, ticker = Metrics(), Ticker()
    await nursery.start(ticker.run)
    metrics.watch_loop(ticker)
    await trio.sleep(1.05)
    found = now_in(metrics)
    assert count(found, "loop_lag_seconds_count") == 10
    assert count(found, "loop_lag_seconds_sum") == 0


async def test_a_loop_that_is_held_up_shows_it(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.metrics.LOOP_S", 0.05)
    metrics, ticker = Metrics(), Ticker()
    await nursery.start(ticker.run)
    metrics.watch_loop(ticker)
    time.sleep(0.3)  # noqa: ASYNC251 - on purpose
    await trio.testing.wait_all_tasks_blocked()
    found = now_in(metrics)
    assert count(found, "loop_lag_seconds_sum") >= 0.2


def test_text_is_not_counted_and_leaves_no_trace() -> None:
    metrics = Metrics()
    before = now_in(metrics)
    metrics.hear(SessionView(record_of()), [Text(session="s1", offset=0, path="/name", delta="A")])
    assert set(now_in(metrics)) == set(before)
