"""What mflux says of its commands: by a script in an environment of the test's own, and by the installed mflux."""

import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from actors.mflux.capabilities import Capabilities, Flag
from actors.mflux.options import objections
from actors.mflux.warm.models import WARM_MODELS
from protocol.commands import ImageOptions
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


class Environment:
    """An environment with an mflux of some version, whose teller counts how often it is asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        self.asked = root / "asked"
        self.version("9.1")
        self.tells(f"print({json.dumps(json.dumps(DUMP))})")

    def version(self, version: str) -> None:
        for installed in self.root.glob("lib/python3.11/site-packages/mflux-*"):
            shutil.rmtree(installed)
        metadata = self.root / f"lib/python3.11/site-packages/mflux-{version}.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: mflux\nVersion: {version}\n")

    def tells(self, script: str) -> None:
        teller = self.root / "bin" / "mflux-capabilities"
        count = f"open({str(self.asked)!r}, 'a').write('x')"
        teller.write_text(f"#!{sys.executable} -S\nimport time\n{count}\n{script}\n")
        teller.chmod(0o755)

    def capabilities(self, command: str = "mflux-paint", ask_s: float = 20.0) -> Capabilities:
        folder = self.root / "kept"
        return Capabilities(str(self.root / "bin" / command), environ=os.environ, folder=folder, ask_s=ask_s)

    @property
    def times_asked(self) -> int:
        return len(self.asked.read_text()) if self.asked.exists() else 0


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


async def test_mflux_is_asked_once_per_version(environment: Environment) -> None:
    capabilities = environment.capabilities()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(capabilities.flags)
    assert await capabilities.flags() == FLAGS
    assert await environment.capabilities().flags() == FLAGS
    assert await environment.capabilities("mflux-other").flags() == {}
    assert environment.times_asked == 1
    environment.version("9.2")
    assert await environment.capabilities().flags() == FLAGS
    assert environment.times_asked == 2


async def test_another_program_is_not_asked(environment: Environment) -> None:
    assert await environment.capabilities("paint").flags() == {}
    (environment.root / "bin" / "mflux-capabilities").unlink()
    assert await environment.capabilities().flags() == {}
    assert environment.times_asked == 0


@pytest.mark.parametrize(
    "script", ["print('Traceback')", "raise SystemExit(1)", "time.sleep(60)", "print('{\"schema_version\": 2}')"]
)
async def test_one_that_does_not_tell_is_logged_and_not_kept(environment: Environment, script: str) -> None:
    environment.tells(script)
    with capture_logs() as logs, trio.fail_after(20):
        capabilities = environment.capabilities(ask_s=1.0)
        assert await capabilities.flags() == await capabilities.flags() == {}
    assert [entry["event"] for entry in logs] == ["mflux_does_not_tell"]
    assert environment.times_asked <= 1
    environment.tells(f"print({json.dumps(json.dumps(DUMP))})")
    assert await environment.capabilities().flags() == FLAGS


async def test_a_kept_answer_that_is_damaged_is_asked_for_again(environment: Environment) -> None:
    assert await environment.capabilities().flags() == FLAGS
    (kept,) = (environment.root / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert await environment.capabilities().flags() == FLAGS
    assert environment.times_asked == 2


async def test_without_room_to_keep_it_mflux_is_asked_by_each_gateway(environment: Environment) -> None:
    (environment.root / "kept").write_text("a file in the way")
    for times in (1, 2):
        assert await environment.capabilities().flags() == FLAGS
        assert environment.times_asked == times


async def test_the_installed_mflux_and_the_table_of_warm_models_agree(tmp_path: Path) -> None:
    for command, known in WARM_MODELS.items():
        path = str(Path(MFLUX_COMMAND).with_name(command))
        flags = await Capabilities(path, environ=mflux_env(), folder=tmp_path).flags()
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
