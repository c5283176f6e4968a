"""Makes `tests/recordings/` again: what the real mflux writes to a terminal, byte for byte.

    python -m tests.helpers.record [NAME ...]

Each job runs in a fresh directory with relative paths, so that no path of the recording machine gets into the bytes.
"""

import argparse
import dataclasses
import json
import os
import select
import socket
import subprocess
import tempfile
import termios
import time
from contextlib import ExitStack
from pathlib import Path

from ptyprocess import PtyProcess

from tests.helpers.loopback_hub import REPOSITORY, loopback_hub
from tests.helpers.tiny_mflux import mflux_argv, mflux_env, tiny_checkpoint

RECORDINGS = Path(__file__).parents[1] / "recordings"
TIMEOUT_S = 120.0
DOWNLOAD_BYTES_PER_S = 4e5
DOWNLOAD_ROLES = ("download", "steps")
INPUT = "input.png"
PREVIEWS = ("--stepwise-image-output-dir=previews",)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One recording.

    `columns` 0 is a terminal that does not know its width (of no *rows*, tqdm shows no bar at all), `steps_total` the
    step bar's total, `roles` what the bars with numbers are for, each once, in the order of first appearance.
    """

    name: str
    what: str
    columns: int = 80
    steps: int = 6
    steps_total: int = 6
    side: int = 512
    model: str = "tiny"
    extra: tuple[str, ...] = ()
    min_interval: str | None = None
    roles: tuple[str, ...] = ("steps",)
    interrupt_at: bytes | None = None
    output_processing: bool = False

    @property
    def needs_input(self) -> bool:
        """Whether it begins from an image, which the tiny checkpoint itself draws first."""
        return f"--image-paths={INPUT}" in self.extra


SCENARIOS = (
    Scenario("steps-80", "Six steps of some 0.2 s on 80 columns."),
    Scenario("steps-20", "Six steps of some 0.2 s on 20 columns, which cut the bar.", columns=20),
    Scenario("steps-0", "Six steps of some 0.2 s on 0 columns: a frame ends without its bracket.", columns=0),
    Scenario(
        "slow-80", "Four steps of over a second: the rate is in s/it.", steps=4, steps_total=4, side=320, model="wide"
    ),
    Scenario(
        "every-tick-80",
        "Twenty steps of a few ms with TQDM_MININTERVAL=0: no tick is skipped.",
        steps=20,
        steps_total=20,
        side=64,
        min_interval="0",
    ),
    Scenario("cooked-80", "As steps-80, with output processing on: each newline is CR LF.", output_processing=True),
    Scenario("previews-80", "As steps-80, with a stepwise image saved before each tick.", extra=PREVIEWS),
    Scenario("previews-20", "As steps-20, with a stepwise image saved before each tick.", columns=20, extra=PREVIEWS),
    Scenario("previews-0", "As steps-0, with a stepwise image saved before each tick.", columns=0, extra=PREVIEWS),
    Scenario(
        "img2img-80",
        "Ten steps asked for, from an image at strength 0.5: the bar's total is 5.",
        steps=10,
        steps_total=5,
        extra=(f"--image-paths={INPUT}", "--strength=0.5", "--output-resolution=64"),
    ),
    Scenario(
        "interrupted-80",
        "Ctrl-C typed during the third of six steps: exit code 0 and no image.",
        side=320,
        model="wide",
        interrupt_at=b" 2/6 ",
    ),
    Scenario(
        "download-80",
        "mflux fetches its checkpoint with its own huggingface_hub, from a rate-limited HTTP server on the loopback "
        "interface (plain HTTP, not Xet), then draws six steps.",
        model="hub",
        roles=DOWNLOAD_ROLES,
    ),
    Scenario(
        "download-20",
        "As download-80, on 20 columns, which leave the download bars their descriptions and no numbers.",
        columns=20,
        model="hub",
    ),
    Scenario("download-0", "As download-80, on 0 columns.", columns=0, model="hub", roles=DOWNLOAD_ROLES),
)


def record(scenario: Scenario, workspace: Path) -> bytes:
    """Run one scenario below `workspace`, which holds its checkpoint; return the terminal's bytes."""
    job = workspace / scenario.name
    job.mkdir()
    if scenario.needs_input:
        drawn = mflux_argv(workspace / scenario.model, job / INPUT)
        subprocess.run(drawn, env=mflux_env(), check=True, capture_output=True, timeout=TIMEOUT_S)
    env = {"TERM": "xterm-256color"}
    if scenario.min_interval is not None:
        env["TQDM_MININTERVAL"] = scenario.min_interval
    with ExitStack() as stack:
        if scenario.model == "hub":
            model = Path(REPOSITORY)
            endpoint = stack.enter_context(loopback_hub(workspace / "tiny", bytes_per_s=DOWNLOAD_BYTES_PER_S))
            env |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": "hub", "HF_HUB_DISABLE_TELEMETRY": "1"}
        else:
            model = Path("model")
            (job / model).symlink_to(workspace / scenario.model)
        argv = mflux_argv(model, Path("owl.png"), *scenario.extra, steps=scenario.steps, side=scenario.side)
        if scenario.model == "hub":
            argv.append("--base-model=qwen-image-2.1")
        return _run_on_terminal(argv, job, mflux_env(**env), scenario)


def _run_on_terminal(argv: list[str], job: Path, env: dict[str, str], scenario: Scenario) -> bytes:
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)
    child = PtyProcess.spawn(argv, cwd=str(job), env=env, echo=False, dimensions=(24, scenario.columns))
    try:
        if not scenario.output_processing:
            _disable_output_processing(child.fd)
        return _read_to_end(child.fd, scenario.interrupt_at)
    finally:
        child.close(force=True)


def _disable_output_processing(terminal: int) -> None:
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _read_to_end(terminal: int, interrupt_at: bytes | None) -> bytes:
    """Everything until the child's side is closed. Raises `TimeoutError` after `TIMEOUT_S`."""
    data = b""
    deadline = time.monotonic() + TIMEOUT_S
    while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            data += os.read(terminal, 65536)
        except OSError:  # Linux: EIO, once the last descriptor of the child's side is closed
            return data
        if interrupt_at is not None and interrupt_at in data:
            os.write(terminal, b"\x03")
            interrupt_at = None
    raise TimeoutError(f"no end after {TIMEOUT_S} s, last bytes: {data[-200:]!r}")


def _check_neutral(data: bytes, workspace: Path) -> None:
    """Raise `ValueError` when the bytes, as one unwrapped line, name a place of this machine."""
    text = "".join(data.decode().split())
    places = (workspace, Path.home(), Path(__file__).parents[2], Path(tempfile.gettempdir()), socket.gethostname())
    if found := [str(place) for place in places if str(place) in text]:
        raise ValueError(f"the bytes name {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="record only these")
    parser.add_argument("--into", type=Path, default=RECORDINGS, metavar="DIRECTORY")
    args = parser.parse_args()
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := set(args.names) - set(known):
        parser.error(f"no such recording: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [known[name] for name in args.names or known]
    args.into.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rec-") as directory:
        workspace = Path(directory)
        tiny_checkpoint(workspace / "tiny")
        if any(scenario.model == "wide" for scenario in chosen):
            tiny_checkpoint(workspace / "wide", layers=1, width=512)
        for scenario in chosen:
            data = record(scenario, workspace)
            _check_neutral(data, workspace)
            facts = {key: getattr(scenario, key) for key in ("columns", "steps_total", "roles", "what")}
            (args.into / f"{scenario.name}.bin").write_bytes(data)
            (args.into / f"{scenario.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
            print(f"{scenario.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
