"""The real `hatchery` command: its output, files, exit codes, and what Ctrl-C leaves behind."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio
from PIL import Image

from gateway.access.auth import Access, AccessLimits
from gateway.hatching import Agent
from gateway.layers import load_config
from protocol.events import End, ServerMessage
from protocol.persona import validate_persona
from tests.helpers.children import HATCHERY, Child, descendants, hatchery, is_alive, run_hatchery
from tests.helpers.scripted_http import Received, scripted_server

SIM = ("--llm", "sim", "--image", "sim", "--data", "data")
DEMO = ("--llm", "demo", "--image", "demo")
FAST = {"HATCHERY_SIM_TOKENS_PER_S": "4000", "HATCHERY_SIM_STEP_S": "0.01"}
SLOW = {"HATCHERY_SIM_TOKENS_PER_S": "1"}

_MESSAGE = msgspec.json.Decoder(ServerMessage)
_AGENT = msgspec.json.Decoder(Agent)


# --- what it leaves


async def test_json_is_one_message_a_line_and_the_last_is_the_end(tmp_path: Path) -> None:
    status, out, err = await run_hatchery("hatch", "an owl", *SIM, "--json", "--out", "owl", cwd=tmp_path, environ=FAST)
    assert (status, err) == (0, "")
    messages = [_MESSAGE.decode(line) for line in out.splitlines()]
    assert isinstance(messages[-1], End)
    assert messages[-1].outcome == "done"
    assert {type(message).__name__ for message in messages} >= {"Snapshot", "State", "PersonaReady", "Artifact", "End"}


async def test_the_files_are_an_agent_and_its_picture(tmp_path: Path) -> None:
    arguments = ("hatch", "an owl", *SIM, "--seed", "7", "--out", "deep/owl")
    status, out, err = await run_hatchery(*arguments, cwd=tmp_path, environ=FAST)
    assert (status, err) == (0, "")
    folder = tmp_path / "deep" / "owl"
    assert sorted(os.listdir(folder)) == ["agent.json", "avatar.png", "card.json", "card.png"]
    agent = _AGENT.decode(await trio.Path(folder / "agent.json").read_bytes())
    validate_persona(msgspec.to_builtins(agent.persona))
    assert (agent.prompt, agent.seed, agent.engines.llm, agent.engines.image) == ("an owl", 7, "sim", "sim")
    with Image.open(io.BytesIO(await trio.Path(folder / agent.avatar).read_bytes())) as picture:
        picture.load()
    files = "agent.json, avatar.png, card.json, card.png"
    assert out.splitlines()[-1] == f"{agent.persona.name} has hatched: deep/owl/ holds {files}"
    assert "100.0 %  Hatched" in out


async def test_without_out_each_agent_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        status, _, _ = await run_hatchery("hatch", "an owl", *SIM, "--seed", "7", cwd=tmp_path, environ=FAST)
        assert status == 0
    folders = sorted(set(os.listdir(tmp_path)) - {"data"})
    assert len(folders) == 2
    assert folders[1] == f"{folders[0]}-2"


async def test_the_demo_engines_draw_the_same_for_the_same_seed(tmp_path: Path) -> None:
    ends: dict[str, int] = {}

    async def run(name: str, seed: str) -> None:
        arguments = ("hatch", "a shy dragon", *DEMO, "--seed", seed, "--out", name)
        ends[name], _, _ = await run_hatchery(*arguments, cwd=tmp_path, within_s=90)

    async with trio.open_nursery() as nursery:
        for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
            nursery.start_soon(run, name, seed)
    assert ends == {"a": 0, "b": 0, "c": 0}
    files: dict[str, list[bytes]] = {}
    for name in ends:
        files[name] = [await trio.Path(tmp_path / name / file).read_bytes() for file in ("agent.json", "avatar.png")]
    assert files["a"] == files["b"]
    assert files["a"][1] != files["c"][1]
    agent = _AGENT.decode(files["a"][0])
    assert (agent.engines.llm, agent.engines.image) == ("demo", "demo")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


# --- exit codes and words


async def test_a_failed_hatch_is_1_with_its_code(tmp_path: Path) -> None:
    environ = {**FAST, "HATCHERY_SIM_FAILURES": "1", "HATCHERY_HATCH_RESTARTS": "0"}
    status, out, err = await run_hatchery("hatch", "an owl", *SIM, "--out", "owl", cwd=tmp_path, environ=environ)
    assert status == 1
    assert "hatchery: image_failed: " in err
    assert "Traceback" not in out + err
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hatch", "", *SIM), "the prompt is empty"),
        (("hatch", "x" * 2001, *SIM), "2001 characters, at most 2000"),
        (("hatch", "x" * 100_000, *SIM), "100000 characters"),
        (("hatch", "bell \x07", *SIM), "control character"),
        (("hatch", os.fsdecode(b"\xff owl"), *SIM), "not UTF-8"),
        (("hatch",), "Missing argument"),
        (("hatch", "x", "--nope"), "No such option"),
        (("hatch", "--verbose", *SIM), "No such option"),
        (("hatch", "x", "--seed", "-1"), "--seed"),
        (("hatch", "x", "--seed", "4294967296"), "--seed"),
        (("hatch", "x", "--image", "no-such-command"), "image.engine: there is no command 'no-such-command'"),
        (("hatch", "x", "--image", ""), "image.engine: "),
        (("hatch", "x", "--llm", "gpt"), "llm.engine: "),
        (("hatch", "x", "--config", "missing.toml"), "missing.toml cannot be read"),
        (("serve", "--host", "0.0.0.0"), "server.host: 0.0.0.0 is not a loopback address"),
        (("serve", "--port", "65536"), "server.port in the command line"),
        (("brood",), "No such command"),
    ],
)
async def test_a_request_that_cannot_be_is_2_with_a_clear_word(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = await run_hatchery(*arguments, cwd=tmp_path, environ={"COLUMNS": "200", "NO_COLOR": "1"})
    assert status == 2
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert set(os.listdir(tmp_path)) <= {"data"}


async def test_a_wrong_variable_is_2(tmp_path: Path) -> None:
    environ = {"HATCHERY_SERVER_PORT": "many"}
    status, _, err = await run_hatchery("serve", cwd=tmp_path, environ=environ)
    assert status == 2
    assert err.startswith("hatchery: server.port in the environment: Expected `int`")


async def test_a_token_is_printed_with_the_line_that_lets_it_in(tmp_path: Path) -> None:
    status, out, err = await run_hatchery("token", "ada", cwd=tmp_path)
    assert status == 0
    assert "[access.quotas.ada] hatches = 2" in err
    (said, token), (word, line) = (row.split(maxsplit=1) for row in out.splitlines())
    assert (said, word) == ("token:", "line:")
    file = tmp_path / "hatchery.toml"
    await trio.Path(file).write_text(f"[access]\ntokens = [{line}]\n")
    tokens = load_config(file).access.tokens
    assert token not in tokens[0]
    assert Access(tokens, b"", AccessLimits(login_s=1, link_s=1), lambda: 0.0).bearer(token).user == "ada"
    assert os.listdir(tmp_path) == ["hatchery.toml"]  # nothing is kept but by who makes it


async def test_a_token_needs_a_user(tmp_path: Path) -> None:
    status, out, err = await run_hatchery("token", "a b", cwd=tmp_path)
    assert (status, out) == (2, "")
    assert "letters" in err


async def test_a_prompt_that_looks_like_an_option(tmp_path: Path) -> None:
    arguments = ("hatch", *SIM, "--out", "owl", "--", "--verbose")
    status, _, err = await run_hatchery(*arguments, cwd=tmp_path, environ=FAST)
    assert (status, err) == (0, "")


async def test_files_that_cannot_be_written_are_1(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").write_text("in the way")
    arguments = ("hatch", "an owl", *SIM, "--out", "file/owl")
    status, _, err = await run_hatchery(*arguments, cwd=tmp_path, environ=FAST)
    assert status == 1
    assert err.splitlines() == ["hatchery: Not a directory: file/owl"]


@pytest.mark.parametrize("arguments", [("--help",), ("hatch", "--help"), ("serve", "--help"), ("hatch", "x", "--nope")])
async def test_help_and_usage_errors_import_no_engine_room(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = await trio.run_process(
        [sys.executable, "-X", "importtime", HATCHERY, *arguments],
        cwd=tmp_path,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines() if "import time:" in line}
    assert "typer" in imported
    assert imported.isdisjoint({"trio", "msgspec", "httpx2", "starlette", "structlog", "websockets", "PIL", "mflux"})


async def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    command = f"{HATCHERY} hatch owl --llm sim --image sim --data data --json | head -n 1"
    done = await trio.run_process(
        ["sh", "-c", command], cwd=tmp_path, capture_stdout=True, capture_stderr=True, env={**os.environ, **FAST}
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


# --- Ctrl-C


async def _interrupted(child: Child, *, within_s: float = 30.0) -> None:
    """Ctrl-C, as a terminal sends it; afterwards nothing below the command is alive."""
    below = await descendants(child.process.pid)
    child.process.send_signal(signal.SIGINT)
    assert await child.ended(within_s=within_s) == 130
    assert "Traceback" not in child.err
    assert not [pid for pid in below if is_alive(pid)]


async def test_ctrl_c_in_writing(tmp_path: Path) -> None:
    async with hatchery("hatch", "an owl", *SIM, cwd=tmp_path, environ=SLOW) as child:
        await child.until("Writing the persona")
        await _interrupted(child)
    assert child.err.startswith("hatchery: cancelled while writing; ")
    assert "the writer's connection is closed, no painter had been started" in child.err
    assert os.listdir(tmp_path) == ["data"]


async def test_ctrl_c_in_drawing_ends_the_painters_process(tmp_path: Path) -> None:
    async with hatchery("hatch", "an owl", *DEMO, cwd=tmp_path) as child:
        await child.until("Step 1 of")
        assert await descendants(child.process.pid)
        await _interrupted(child)
    assert child.err.startswith("hatchery: cancelled while drawing at step ")
    assert "the painter's process is gone (exit code -15)" in child.err
    assert os.listdir(tmp_path) == []


async def test_ctrl_c_with_json_still_ends_with_the_end(tmp_path: Path) -> None:
    async with hatchery("hatch", "an owl", *SIM, "--json", cwd=tmp_path, environ=SLOW) as child:
        await child.until('"state":"writing"')
        await _interrupted(child)
    end = _MESSAGE.decode(child.out.splitlines()[-1])
    assert isinstance(end, End)
    assert end.outcome == "cancelled"


async def test_ctrl_c_before_anything_has_begun(tmp_path: Path) -> None:
    asked = trio.Event()

    async def hang(stream: trio.SocketStream, _: Received) -> None:
        asked.set()
        await stream.receive_some()

    async with scripted_server(hang) as server:
        arguments = ("hatch", "an owl", "--llm", server.url, "--image", "sim", "--data", "data")
        async with hatchery(*arguments, cwd=tmp_path) as child:
            with trio.fail_after(20):
                await asked.wait()
            await _interrupted(child)
    assert child.err == "hatchery: interrupted\n"


async def test_a_second_ctrl_c_leaves_without_the_receipt_but_leaves_nothing_running(tmp_path: Path) -> None:
    painter, ready = tmp_path / "stubborn", tmp_path / "ready"
    os.mkfifo(ready)
    script = f"#!/bin/sh\ntrap '' TERM INT HUP\necho > {ready}\nwhile :; do sleep 0.1; done\n"
    await trio.Path(painter).write_text(script)
    painter.chmod(0o755)
    arguments = ("hatch", "an owl", "--llm", "sim", "--image", str(painter), "--data", "data", "--json")
    async with hatchery(*arguments, cwd=tmp_path, environ=FAST) as child:
        with trio.fail_after(30):
            await trio.to_thread.run_sync(ready.read_bytes, abandon_on_cancel=True)
        below = await descendants(child.process.pid)
        assert below
        child.process.send_signal(signal.SIGINT)
        await child.until('"state":"cancelling"')  # the painter shrugs off SIGTERM for a second
        child.process.send_signal(signal.SIGINT)
        assert await child.ended() == 130
        assert not [pid for pid in below if is_alive(pid)]
    assert child.err == "hatchery: left at the second interrupt; what still ran is stopped with the gateway\n"


async def test_in_a_terminal_ctrl_c_is_the_same(tmp_path: Path) -> None:
    """The terminal sends it to the whole foreground group; the painter leads a session of its own."""
    process = await trio.lowlevel.open_process(
        [HATCHERY, "hatch", "an owl", *DEMO],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said = b""
    with trio.fail_after(30):
        while b"Step 1 of" not in said:
            said += await process.stdout.receive_some()
        os.killpg(process.pid, signal.SIGINT)
        err = b""
        while more := await process.stderr.receive_some():
            err += more
        assert await process.wait() == 130
    await process.stdout.aclose()
    await process.stderr.aclose()
    assert b"cancelled while drawing" in err
