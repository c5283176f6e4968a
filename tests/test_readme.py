"""What the README says is what the code does."""

import re
import shlex
import sys
from pathlib import Path
from subprocess import run

from protocol.commands import Command
from protocol.events import Event
from tests.helpers.readme import README, ROOT, regenerated

TEXT = README.read_text(encoding="utf-8")


def test_its_derived_parts_are_up_to_date() -> None:
    assert regenerated(TEXT) == TEXT, "run `python -m tests.helpers.readme`"


def test_every_message_is_in_the_protocol_summary() -> None:
    summary = TEXT[TEXT.index("## The protocol\n") : TEXT.index("## What it does not do yet")]
    answers = {"error"}  # which may answer anything
    for message in [*Command.__subclasses__(), *Event.__subclasses__()]:
        name = str(message.__struct_config__.tag)
        assert name in answers or f"`{name}`" in summary, name


def test_its_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", TEXT):
        path = target[0] or target[1]
        assert path.startswith("http") or (ROOT / path).exists(), path


def test_its_commands_exist() -> None:
    """The two pasted lines themselves are run by `.ci/run`; here their options are checked."""
    commands = re.findall(r"^hatchery (\w+) ([^#\n]*)", TEXT, re.MULTILINE)
    hatchery = str(Path(sys.executable).with_name("hatchery"))
    assert commands
    for name, rest in commands:
        options = {word for word in shlex.split(rest) if word.startswith("--")}
        usage = run([hatchery, name, "--help"], capture_output=True, text=True, check=True).stdout
        assert all(option in usage for option in options), (name, options)


def test_its_python_client_runs(tmp_path: Path) -> None:
    """The ten lines see a whole hatch on a real gateway."""
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    script = tmp_path / "client.py"
    driver = tmp_path / "driver.py"
    script.write_text(code, encoding="utf-8")
    driver.write_text(_DRIVER, encoding="utf-8")
    done = run(
        [sys.executable, str(driver), str(script), str(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert said[0][0] == "welcome"
    assert said[-1][0] == "end"
    assert ["progress", "100.0", "Hatched"] in said


_DRIVER = """
import sys
from pathlib import Path

import trio

sys.path.insert(0, ".")

from gateway.telemetry import configure_logging
from tests.helpers.gateways import running_gateway


async def main(script: str, data: str) -> None:
    async with running_gateway(Path(data)) as gateway:
        code = Path(script).read_text().replace("ws://127.0.0.1:8642", gateway.url.replace("http", "ws"))
        await trio.to_thread.run_sync(exec, code, {})


configure_logging(verbose=False)
trio.run(main, *sys.argv[1:])
"""
