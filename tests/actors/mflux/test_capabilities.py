"""What mflux says of its commands: by a script in an environment of the test's own, and by the installed mflux."""

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from actors.mflux.capabilities import Capabilities, Flag, open_capabilities
from actors.mflux.options import flag_for, objections
from actors.mflux.warm.models import WARM_MODELS
from protocol.commands import ImageOptions
from tests.helpers.mflux_environment import MfluxEnvironment
from tests.helpers.tiny_mflux import MFLUX_COMMAND, mflux_env

DUMP: dict[str, Any] = {
    "schema_version": 1,
    "mflux_version": "9.1",
    "commands": [
        {"command": "mflux-other", "coverage": "import-error", "error": "no torch"},
        {
            "command": "mflux-paint",
            "coverage": "full",
            "options": [
                {"flag": "--model", "type": "str", "parser_default": None, "status": "honored"},
                {"flag": "--guidance", "status": "ignored", "reason": "it is distilled"},
            ],
        },
    ],
}
FLAGS = {
    "--model": Flag(flag="--model"),
    "--guidance": Flag(flag="--guidance", status="ignored", reason="it is distilled"),
}


def paint(environment: MfluxEnvironment, command: str = "mflux-paint", ask_s: float = 20.0) -> Capabilities:
    return Capabilities(environment.path(command), environ=os.environ, folder=environment.kept, ask_s=ask_s)


async def flags_of(capabilities: Capabilities) -> Mapping[str, Flag]:
    await capabilities.learn()
    return await capabilities.told()


@pytest.fixture
def environment(tmp_path: Path) -> MfluxEnvironment:
    return MfluxEnvironment(tmp_path, DUMP)


async def test_mflux_is_asked_once_per_version(environment: MfluxEnvironment) -> None:
    assert await flags_of(paint(environment)) == FLAGS
    assert await flags_of(paint(environment)) == FLAGS
    assert await flags_of(paint(environment, "mflux-other")) == {}
    assert environment.times_asked == 1
    environment.version("9.2")
    assert await flags_of(paint(environment)) == FLAGS
    assert environment.times_asked == 2


async def test_nobody_waits_for_it_but_who_asks_what_it_said(environment: MfluxEnvironment) -> None:
    environment.hold()
    path = environment.path("mflux-paint")
    told: list[Mapping[str, Flag]] = []
    with trio.fail_after(20):
        async with open_capabilities(path, environ=os.environ, folder=environment.kept) as capabilities:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    told.append(await capabilities.told())

                nursery.start_soon(ask)
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                assert capabilities.flags is None
                assert told == []
                environment.release()
            assert told == [FLAGS, FLAGS]
            assert capabilities.flags == FLAGS


async def test_the_end_does_not_wait_for_one_that_does_not_tell(environment: MfluxEnvironment) -> None:
    environment.tells("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    path = environment.path("mflux-paint")
    async with open_capabilities(path, environ=os.environ, folder=environment.kept):
        with trio.fail_after(10):
            while not environment.times_asked:  # noqa: ASYNC110 - a file is all that it leaves
                await trio.sleep(0.01)
        left = trio.current_time()
    assert trio.current_time() - left < 2.0


async def test_another_program_is_not_asked(environment: MfluxEnvironment) -> None:
    assert await flags_of(paint(environment, "paint")) == {}
    (environment.bin / "mflux-capabilities").unlink()
    assert await flags_of(paint(environment)) == {}
    assert environment.times_asked == 0


@pytest.mark.parametrize(
    "script", ["print('Traceback')", "raise SystemExit(1)", "time.sleep(60)", "print('{\"schema_version\": 2}')"]
)
async def test_one_that_does_not_tell_is_logged_and_not_kept(environment: MfluxEnvironment, script: str) -> None:
    environment.tells(script)
    with capture_logs() as logs, trio.fail_after(20):
        assert await flags_of(paint(environment, ask_s=1.0)) == {}
    assert [entry["event"] for entry in logs] == ["mflux_does_not_tell"]
    assert environment.times_asked <= 1
    environment.tells_dump(DUMP)
    assert await flags_of(paint(environment)) == FLAGS


async def test_a_kept_answer_that_is_damaged_is_asked_for_again(environment: MfluxEnvironment) -> None:
    assert await flags_of(paint(environment)) == FLAGS
    (kept,) = environment.kept.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert await flags_of(paint(environment)) == FLAGS
    assert environment.times_asked == 2


async def test_without_room_to_keep_it_mflux_is_asked_by_each_gateway(environment: MfluxEnvironment) -> None:
    environment.kept.write_text("a file in the way")
    for times in (1, 2):
        assert await flags_of(paint(environment)) == FLAGS
        assert environment.times_asked == times


async def test_the_installed_mflux_and_the_table_of_warm_models_agree(tmp_path: Path) -> None:
    for command, known in WARM_MODELS.items():
        path = str(Path(MFLUX_COMMAND).with_name(command))
        flags = await flags_of(Capabilities(path, environ=mflux_env(), folder=tmp_path))
        assert all(flag_for(option, flags) for option in ("steps", "width", "height", "model"))
        assert ("lora" in known.honours) == ("--lora" in flags)
        assert ("image" in known.honours) == ("--image-path" in flags)
        assert ("references" in known.honours) == ("--image-paths" in flags)
        for flag, asked in (
            ("--guidance", ImageOptions(guidance=2.0)),
            ("--negative-prompt", ImageOptions(negative_prompt="fog")),
        ):
            refused = [field for field, _ in objections(known, known.checkpoints[0], asked, None)]
            assert refused or flags[flag].status not in ("ignored", "rejected"), (command, flag)
    assert os.listdir(tmp_path) == [f"capabilities-{version('mflux')}.json"], "it was asked once"
