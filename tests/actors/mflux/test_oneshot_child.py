"""The child of a one-shot command: its prompt, environment, terminal and directory, its end when cancelled."""

import json
import os
import signal
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors.mflux.oneshot import OneShotEngine, Program, child_environment
from protocol.errors import ImageUnavailable
from protocol.mail import WorkerLeft
from protocol.persona import Persona
from tests.helpers.easel import SAVE, Easel
from tests.helpers.fakes import PERSONA


@pytest.mark.parametrize(
    "prompt",
    ["--help", "-", "$(touch x); `id` & 'a' \"b\"", "two\nlines\n", "\u2028 \x85 🦉 é", "%s {0} \\n", " padded "],
)
async def test_any_prompt_arrives_as_it_is_and_by_file_only(easel: Easel, prompt: str) -> None:
    engine = easel.engine(
        "(outside / 'prompt').write_bytes(Path(args['--prompt-file']).read_bytes())\n"
        "(outside / 'args').write_text(json.dumps(sys.argv[1:]))\n" + SAVE
    )
    persona = msgspec.structs.replace(PERSONA, avatar_prompt=prompt)
    await engine.draw(easel.job(persona=persona), easel.told)
    assert easel.seen("prompt").decode() == prompt
    assert prompt not in json.loads(easel.seen("args"))


async def test_a_command_that_knows_personas_gets_the_whole_one(easel: Easel) -> None:
    script = "(outside / 'persona').write_bytes(Path(args['--persona-file']).read_bytes())\n" + SAVE
    await easel.engine(script, persona=True).draw(easel.job(), easel.told)
    assert msgspec.json.decode(easel.seen("persona"), type=Persona) == PERSONA


async def test_the_child_sees_a_whitelisted_environment(easel: Easel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HATCHERY_TOKEN", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = easel.engine("(outside / 'env').write_text(json.dumps(dict(os.environ)))\n" + SAVE)
    await engine.draw(easel.job(), easel.told)
    env = json.loads(easel.seen("env"))
    assert not {"HATCHERY_TOKEN", "OPENAI_API_KEY", "PYTHONPATH", "TQDM_DISABLE"} & set(env)
    assert (env["HF_HUB_OFFLINE"], env["PATH"]) == ("1", os.environ["PATH"])
    assert (env["TQDM_MININTERVAL"], env["TERM"]) == ("0", "xterm-256color")


def test_an_environment_without_a_path_gets_the_systems() -> None:
    assert child_environment({"HOME": "/home/ann", "SECRET": "x"}) == {
        "HOME": "/home/ann",
        "PATH": os.defpath,
        "TERM": "xterm-256color",
        "TQDM_MININTERVAL": "0",
        "PYTHONUNBUFFERED": "1",
    }


async def test_the_child_has_a_terminal_and_a_directory_of_its_own(easel: Easel) -> None:
    engine = easel.engine(
        "names = sorted(os.listdir())\n"
        "seen = [os.isatty(0) and os.isatty(1) and os.isatty(2), os.getcwd(), names]\n"
        "(outside / 'seen').write_text(json.dumps(seen))\n" + SAVE
    )
    await engine.draw(easel.job(), easel.told)
    terminal, directory, names = json.loads(easel.seen("seen"))
    assert terminal
    assert Path(directory).parent == easel.jobs.resolve()
    assert names == ["prompt.txt"]


async def test_a_cancel_in_mid_run_leaves_no_process_and_no_directory(easel: Easel) -> None:
    engine = easel.engine(
        "(outside / 'pid').write_text(str(os.getpid()))\nbar(1, 4)\n"
        "Path('half.png').write_bytes(png[:20])\ntime.sleep(60)"
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            await easel.told.stepped.wait()
            cancelled_at = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled_at < 0.5
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-signal.SIGTERM)]
    with pytest.raises(ProcessLookupError):
        os.kill(int(easel.seen("pid")), 0)
    assert os.listdir(easel.jobs) == []


async def test_a_child_that_will_not_listen_is_killed_before_the_farewell(easel: Easel) -> None:
    engine = easel.engine(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(outside / 'pid').write_text(str(os.getpid()))\n"
        "bar(1, 4)\ntime.sleep(60)"
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            await easel.told.stepped.wait()
            nursery.cancel_scope.cancel()
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-signal.SIGKILL)]
    with pytest.raises(ProcessLookupError):
        os.kill(int(easel.seen("pid")), 0)


@pytest.mark.parametrize("checkpoints", range(12))
async def test_a_cancel_at_any_moment_of_the_beginning_leaves_nothing(easel: Easel, checkpoints: int) -> None:
    engine = easel.engine("time.sleep(60)")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            for _ in range(checkpoints):
                await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
    assert not easel.jobs.exists() or os.listdir(easel.jobs) == []
    assert len(easel.told.farewells) <= 1


async def test_a_command_that_is_not_there(easel: Easel) -> None:
    program = Program(name="toy", argv=("no-such-command",))
    engine = OneShotEngine(program, artifacts=easel.artifacts, jobs=easel.jobs, environ=os.environ)
    with pytest.raises(ImageUnavailable, match="no-such-command"):
        await engine.draw(easel.job(), easel.told)
    assert easel.told.letters == [], "no worker, no farewell"
    assert os.listdir(easel.jobs) == []


async def test_a_disk_without_room_for_jobs(easel: Easel) -> None:
    easel.jobs.write_text("a file in the way")
    with pytest.raises(ImageUnavailable, match="cannot be written"):
        await easel.engine(SAVE).draw(easel.job(), easel.told)


async def test_a_disk_without_room_for_pictures(easel: Easel) -> None:
    (easel.outside / "artifacts").write_text("a file in the way")
    with pytest.raises(ImageUnavailable, match="cannot be written"):
        await easel.engine(SAVE).draw(easel.job(), easel.told)
    assert os.listdir(easel.jobs) == []
