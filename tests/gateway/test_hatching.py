import json
import os
import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from actors.cards import read_card
from gateway.config import Config, ConfigError
from gateway.hatching import Order, _epitaph, _free_folder, hatch_one
from gateway.layers import load_config
from protocol.card import from_card
from protocol.events import End, Engines, Failure, LlmFate, Receipt, WorkerFate
from tests.helpers.fakes import png
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    """Logs are not what is tested; unconfigured they would go to stdout."""
    with capture_logs():
        yield


def _config(data: Path, **settings: Any) -> Config:
    base = {"server.port": 0, "server.data": str(data), "llm.engine": "sim", "image.engine": "sim"}
    fast = {"sim.tokens_per_s": 4000, "sim.step_s": 0.01, "wire.tick_ms": 5}
    return load_config(None, {}, base | fast | {name.replace("__", "."): value for name, value in settings.items()})


def _order(out: Path | None, *, prompt: str = "an owl", seed: int | None = 7, as_json: bool = True) -> Order:
    return Order(prompt=prompt, seed=seed, out=out, as_json=as_json)


async def test_a_hatch_that_is_done_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "owl"
    assert await hatch_one(_config(tmp_path / "data"), _order(out)) == 0
    agent = json.loads(await trio.Path(out / "agent.json").read_bytes())
    assert (agent["prompt"], agent["seed"], agent["avatar"]) == ("an owl", 7, "avatar.png")
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["type"] == "end"
    assert said.err == ""


async def test_the_cards_beside_an_agent_tell_the_same_of_it(tmp_path: Path) -> None:
    out = tmp_path / "owl"
    await hatch_one(_config(tmp_path / "data", sim__steps=5), _order(out))
    assert sorted(os.listdir(out)) == ["agent.json", "avatar.png", "card.json", "card.png"]
    agent = json.loads(await trio.Path(out / "agent.json").read_bytes())
    card = await trio.Path(out / "card.json").read_bytes()
    png = await trio.Path(out / "card.png").read_bytes()
    persona, making = from_card(card)
    assert making is not None
    assert (persona, making) == from_card(read_card(png))
    sim = {"engine": "sim", "version": version("hatchery")}
    told = msgspec.to_builtins(making)
    assert (told["seed"], told["steps"], told["writer"], told["painter"]) == (7, 5, sim, sim)
    assert {name: agent[name] for name in ("prompt", "seed", "steps", "engines", "writer", "painter")} == {
        name: told[name] for name in ("prompt", "seed", "steps", "engines", "writer", "painter")
    }
    assert agent["persona"] == msgspec.to_builtins(persona)


async def test_what_mflux_says_is_kept_though_the_rest_of_its_data_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    mflux = MfluxEnvironment(tmp_path / "mflux", dump_of("mflux-paint", []))
    kept = tmp_path / "home" / "hatchery" / "mflux" / "capabilities-9.1.json"
    wait = f"while not os.path.exists({str(kept)!r}): time.sleep(0.01)"
    save = f"open(sys.argv[sys.argv.index('--output') + 1], 'wb').write(bytes.fromhex({png().hex()!r}))"
    mflux.command("mflux-paint", f"import os, sys, time\n{wait}\n{save}")
    config = _config(tmp_path / "data", image__engine=mflux.path("mflux-paint"))
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, data=""))
    for out in ("a", "b"):
        assert await hatch_one(config, _order(tmp_path / out)) == 0
    assert mflux.times_asked == 1
    assert os.listdir(tmp_path / "home" / "hatchery") == ["mflux"]


async def test_without_a_seed_each_hatch_gets_another_and_tells_it(tmp_path: Path) -> None:
    seeds = set()
    for name in ("a", "b"):
        await hatch_one(_config(tmp_path / "data"), _order(tmp_path / name, seed=None))
        seeds.add(json.loads(await trio.Path(tmp_path / name / "agent.json").read_bytes())["seed"])
    assert len(seeds) == 2


async def test_a_refusal_is_2_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "owl"
    assert await hatch_one(_config(tmp_path / "data"), _order(out, prompt=" ")) == 2
    assert capsys.readouterr().err == "hatchery: the prompt is empty: one sentence is enough\n"
    assert "owl" not in os.listdir(tmp_path)


async def test_a_failure_is_1_and_its_words_are_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(tmp_path / "data", sim__failures=1.0, hatch__restarts=0)
    assert await hatch_one(config, _order(tmp_path / "owl")) == 1
    assert capsys.readouterr().err.startswith("hatchery: image_failed: ")
    assert "owl" not in os.listdir(tmp_path)


async def test_what_a_child_says_at_its_end_cannot_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    painter = tmp_path / "painter"
    await trio.Path(painter).write_text("#!/bin/sh\nprintf 'oh \\033]0;title\\007 \\302\\2332J no\\n'\nexit 3\n")
    painter.chmod(0o755)
    config = _config(tmp_path / "data", image__engine=str(painter), hatch__restarts=0)
    assert await hatch_one(config, _order(tmp_path / "owl", as_json=False)) == 1
    said = capsys.readouterr()
    assert "image_failed" in said.err
    assert said.err.endswith("no\n")
    assert not any((c < " " and c != "\n") or "\x7f" <= c <= "\x9f" for c in said.err + said.out)


async def test_an_interrupt_is_130_and_tells_what_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio.open_nursery() as nursery:
        ended: list[int] = []

        async def run() -> None:
            ended.append(await hatch_one(_config(tmp_path / "data", sim__step_s=60.0), _order(tmp_path / "owl")))

        nursery.start_soon(run)
        said = ""
        with trio.fail_after(20):
            while '"state":"drawing"' not in said:
                await trio.sleep(0.01)
                said += capsys.readouterr().out
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [130]
    assert capsys.readouterr().err.startswith("hatchery: cancelled while drawing; ")


async def test_settings_that_cannot_be_are_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=r"image\.engine"), flatten_subgroups=True):
        await hatch_one(_config(tmp_path / "data", image__engine="no-such-command"), _order(tmp_path / "owl"))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Wren", "wren"),
        ("Wren of the Marsh", "wren-of-the-marsh"),
        ("../../etc/passwd", "etc-passwd"),
        ("/", "agent"),
        ("…", "agent"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("Ængla Ødegård", "ængla-ødegård"),
        ("小さな龍", "小さな龍"),
        ("NUL\0byte", "nul-byte"),
    ],
)
def test_a_folder_is_named_after_its_agent_and_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _free_folder(name) == Path(folder)
    Path(folder).mkdir()
    assert _free_folder(name) == Path(f"{folder}-2")


def _cancelled(worker: WorkerFate, llm: LlmFate, *, steps_done: int = 0, exit_code: int | None = None) -> End:
    receipt = Receipt(
        queued_ms=0,
        writing_ms=0,
        waiting_ms=0,
        drawing_ms=0,
        total_ms=0,
        steps_done=steps_done,
        steps=8,
        worker=worker,
        llm=llm,
        engines=Engines(llm="sim", image="sim"),
        cancel_latency_ms=12,
        exit_code=exit_code,
    )
    return End(session="s", seq=1, outcome="cancelled", receipt=receipt)


@pytest.mark.parametrize(
    ("end", "state", "words"),
    [
        (
            _cancelled("none", "none"),
            "queued",
            "cancelled while queued; 12 ms after the request, no painter had been started",
        ),
        (
            _cancelled("none", "closed"),
            "writing",
            "cancelled while writing; 12 ms after the request, the writer's connection is closed, "
            "no painter had been started",
        ),
        (
            _cancelled("exited", "closed", steps_done=3, exit_code=-15),
            "drawing",
            "cancelled while drawing at step 3 of 8; 12 ms after the request, the writer's connection is closed, "
            "the painter's process is gone (exit code -15)",
        ),
        (
            _cancelled("idle", "none", steps_done=1),
            "drawing",
            "cancelled while drawing at step 1 of 8; 12 ms after the request, "
            "the painter has dropped the job and is idle",
        ),
        (
            _cancelled("stuck", "none"),
            "drawing",
            "cancelled while drawing; 12 ms after the request, the painter's process could not be ended",
        ),
    ],
)
def test_the_last_words_tell_the_receipt(end: End, state: str, words: str) -> None:
    assert _epitaph(end, state) == words


def test_the_last_words_of_a_failure_are_its_code_and_message() -> None:
    end = _cancelled("exited", "closed")
    failed = End(
        session="s",
        seq=1,
        outcome="failed",
        receipt=end.receipt,
        error=Failure(code="image_failed", message="no picture", retryable=False),
    )
    assert _epitaph(failed, "drawing") == "image_failed: no picture"
