"""The recordings say what their descriptions claim, name no machine, and can be made again from today's mflux."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

RECORDINGS = Path(__file__).parents[1] / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.bin"))
STEP_FRAME = re.compile(rb"\r *\d+%\|[^|]*\| (\d+)/(\d+) \[")
DOWNLOAD_FRAME = re.compile(rb"Fetching \d+ files: +\d+%\|[^|]*\| \d+/\d+ \[")
FRAME = re.compile(rb"\r([^\r\n\x1b]*)")


def bars(directory: Path, name: str) -> list[tuple[int, int]]:
    """The (step, total) of each frame of the step bar."""
    frames = STEP_FRAME.findall((directory / f"{name}.bin").read_bytes())
    return [(int(step), int(total)) for step, total in frames]


def facts(name: str) -> Any:
    return msgspec.json.decode((RECORDINGS / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_the_description_fits_the_bytes(name: str) -> None:
    said, data, steps = facts(name), (RECORDINGS / f"{name}.bin").read_bytes(), bars(RECORDINGS, name)
    assert {total for _, total in steps} == {said["steps_total"]}
    assert steps == sorted(steps)
    assert ("download" in said["roles"]) == bool(DOWNLOAD_FRAME.search(data))
    if said["columns"]:
        assert max(len(frame.decode()) for frame in FRAME.findall(data)) <= said["columns"]


@pytest.mark.parametrize("name", NAMES)
def test_no_recording_holds_an_absolute_path(name: str) -> None:
    unwrapped = "".join((RECORDINGS / f"{name}.bin").read_text().split())
    assert not re.search(r"/[a-z]\w*/", unwrapped)


def test_mflux_still_writes_what_was_recorded(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.helpers.record", "--into", str(tmp_path), "every-tick-80"]
    subprocess.run(argv, cwd=RECORDINGS.parents[1], check=True, capture_output=True, timeout=100)
    assert bars(tmp_path, "every-tick-80") == bars(RECORDINGS, "every-tick-80")
    assert (tmp_path / "every-tick-80.json").read_bytes() == (RECORDINGS / "every-tick-80.json").read_bytes()
