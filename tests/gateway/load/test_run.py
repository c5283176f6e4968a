"""The whole tool: against a gateway of its own, and against one that lies in one way at a time."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import trio

from gateway.load.report import Report
from gateway.load.run import Order, run_load
from protocol.events import Event, Snapshot, State
from tests.helpers.children import run_hatchery
from tests.helpers.lying_gateway import Lie, Story, end, lying_gateway, progress

ONCE = """
connections = 1
sessions_per_connection = 1
sessions = 1
duration_s = 1.0
finish_s = 0.5
"""

SESSION = "s1"  # the first that it starts
M = TypeVar("M", bound=msgspec.Struct)


@pytest.fixture
def once(tmp_path: Path) -> str:
    """A profile of one hatch."""
    file = tmp_path / "once.toml"
    file.write_text(ONCE)
    return str(file)


async def ordered(tmp_path: Path, profile: str, url: str | None) -> tuple[int, Report]:
    json = tmp_path / "report.json"
    status = await run_load(Order(profile=profile, url=url, json=json))
    return status, msgspec.json.decode(await trio.Path(json).read_bytes(), type=Report)


async def test_a_truthful_gateway_is_fine(tmp_path: Path, once: str) -> None:
    async with lying_gateway() as url:
        status, report = await ordered(tmp_path, once, url)
    assert (status, report.violations) == (0, [])
    assert report.sessions == {"started": 1, "done": 1}
    assert report.audited == 1
    assert not report.own_gateway


def in_frame(at: int, change: Callable[[list[Event]], list[Event]]) -> Lie:
    def lie(story: Story) -> Story:
        return [*story[:at], change(story[at]), *story[at + 1 :]]

    return lie


def falsified(message: M, **fields: object) -> M:
    return msgspec.structs.replace(message, **fields)


def more(at: int, percent: float) -> Lie:
    """A frame with one more progress."""
    return in_frame(at, lambda frame: [*frame, progress(SESSION, percent)])


def stuck(frame: list[Event]) -> list[Event]:
    told = end(SESSION, 6)
    return [*frame[:2], falsified(told, receipt=falsified(told.receipt, worker="stuck"))]


LIES: dict[str, Lie] = {
    "one-end": lambda story: story[:-1],
    "after-end": more(-1, 100.0),
    "seq": in_frame(5, lambda frame: [falsified(frame[0], seq=9), *frame[1:]]),
    "snapshot": lambda story: story[1:],
    "text-offset": in_frame(2, lambda frame: frame[1:]),
    "text-path": in_frame(2, lambda frame: [*frame[:3], falsified(frame[3], path="/traits/2"), *frame[4:]]),
    "text-differs": in_frame(2, lambda frame: [falsified(frame[0], delta="Wrem"), *frame[1:]]),
    "percent": more(5, 40.0),
    "hundred": in_frame(-1, lambda frame: [frame[0], frame[2]]),
    "work-after-cancel": in_frame(2, lambda frame: [State(session=SESSION, seq=2, state="cancelling"), *frame]),
    "receipt": in_frame(-1, stuck),
}


@pytest.mark.parametrize("invariant", LIES)
async def test_a_lie_is_1_and_named(
    tmp_path: Path, once: str, invariant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lying_gateway(LIES[invariant]) as url:
        status, report = await ordered(tmp_path, once, url)
    assert status == 1
    assert invariant in report.broken
    assert f"{invariant}: " in capsys.readouterr().out


async def test_an_answer_that_is_given_twice_is_named(tmp_path: Path, once: str) -> None:
    async with lying_gateway(answers=lambda events: events * 2) as url:
        status, report = await ordered(tmp_path, once, url)
    assert (status, set(report.broken)) == (1, {"answer"})


async def test_an_answer_that_is_missing_is_named(tmp_path: Path, once: str) -> None:
    async with lying_gateway(lambda _story: [], answers=lambda _events: []) as url:
        status, report = await ordered(tmp_path, once, url)
    assert status == 1
    assert "answer" in report.broken
    assert report.sessions["unfinished"] == 1


async def test_what_is_said_otherwise_at_last_is_named(tmp_path: Path, once: str) -> None:
    def forget(shown: Snapshot) -> Snapshot:
        return msgspec.structs.replace(shown, persona={**shown.persona, "name": "Wran"})

    async with lying_gateway(final=forget) as url:
        status, report = await ordered(tmp_path, once, url)
    assert (status, report.broken) == (1, {"audit": 1})
    assert report.violations[0].detail == "another persona"


async def test_a_gateway_of_its_own_passes_the_smoke_test(tmp_path: Path) -> None:
    """Through the real command: cancels, reconnects, drops, a slow reader, both formats, watchers."""
    arguments = ("load", "--profile", "smoke", "--json", "report.json", "--html", "report.html")
    status, out, err = await run_hatchery(*arguments, cwd=tmp_path, environ={"COLUMNS": "160"})
    report = msgspec.json.decode(await trio.Path(tmp_path / "report.json").read_bytes(), type=Report)
    assert (status, report.violations, err) == (0, [], "")
    assert "all invariants held" in out
    assert report.own_gateway
    assert report.sessions["done"] > 10
    assert report.sessions["cancelled"] > 0
    assert report.sessions["started"] == sum(count for name, count in report.sessions.items() if name != "started")
    assert report.audited == report.sessions["started"]
    assert report.connections["left"] > 0
    assert report.connections["dropped"] > 0
    assert {latency.name for latency in report.latencies} >= {"accept", "first text", "text age", "cancel", "receipt"}
    assert report.throughput.messages == sum(report.throughput.by_type.values()) > 1000
    assert report.samples
    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json"]
    page = await trio.Path(tmp_path / "report.html").read_text()
    assert "all invariants held" in page
    assert page.count("<svg") >= 4


async def test_what_is_cancelled_together_at_last_is_timed_by_itself(tmp_path: Path) -> None:
    endless = "connections = 2\nduration_s = 0.5\nfinish_s = 1.0\nengines = {step_s = 60.0}\n"
    await trio.Path(tmp_path / "endless.toml").write_text(endless)
    status, _, err = await run_hatchery("load", "--profile", "endless.toml", "--json", "report.json", cwd=tmp_path)
    report = msgspec.json.decode(await trio.Path(tmp_path / "report.json").read_bytes(), type=Report)
    assert (status, report.violations, err) == (0, [], "")
    counts = {latency.name: latency.quantiles.count for latency in report.latencies}
    assert counts["sweep"] == report.sessions["cancelled"] == report.sessions["started"] > 0
    assert "cancel" not in counts
    assert "receipt" not in counts


async def test_memory_above_the_bound_is_named(tmp_path: Path, once: str) -> None:
    await trio.Path(once).write_text(ONCE + "memory_mib = 1\n[engines]\ntokens_per_s = 4000\nstep_s = 0.01\n")
    status, report = await ordered(tmp_path, once, None)
    assert (status, report.broken) == (1, {"memory": 1})
    assert report.gateway.peak_mib is not None
    assert report.gateway.peak_mib > 1


async def test_real_processes_draw_where_the_demo_engines_are_asked_for(tmp_path: Path, once: str) -> None:
    await trio.Path(once).write_text(ONCE.replace("finish_s = 0.5", "finish_s = 60"))
    json = tmp_path / "report.json"
    assert await run_load(Order(profile=once, engines="demo", json=json)) == 0
    report = msgspec.json.decode(await trio.Path(json).read_bytes(), type=Report)
    assert (report.engines, report.sessions["done"]) == ("writer demo, painter demo", 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "bear"), "there is no profile 'bear': bar, "),
        (("--engines", "steam"), "--engines"),
        (("--token-file", "missing"), "--token-file"),
        (("http://127.0.0.1:1", "--profile", "smoke"), "no gateway at http://127.0.0.1:1: "),
        (("ftp://127.0.0.1", "--profile", "smoke"), "is no address of a gateway"),
    ],
)
async def test_what_cannot_be_is_2_and_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = await run_hatchery("load", *arguments, cwd=tmp_path, environ={"COLUMNS": "200", "NO_COLOR": "1"})
    assert status == 2
    assert said in err
    assert out == ""
    assert "Traceback" not in err
