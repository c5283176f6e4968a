"""Whole hatches through the unmodified mflux command in a PTY, with a tiny checkpoint: progress, pictures, cancels."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trio
from PIL import Image

from protocol.commands import Cancel, HatchRequest, ImageOptions
from protocol.events import Artifact, End, Progress, Snapshot, State
from protocol.maker import Maker
from tests.helpers.gateways import PERSONA, Listener, check_session, listening_client, running_gateway
from tests.helpers.tiny_mflux import MFLUX_COMMAND, tiny_checkpoint

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def heavy_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("heavy"), layers=1, width=512)


@asynccontextmanager
async def mflux_client(data: Path, checkpoint: Path, **settings: Any) -> AsyncIterator[Listener]:
    engine = f"{MFLUX_COMMAND} --model {checkpoint}"
    settings = {"llm__engine": "demo", "image__engine": engine, "image__warm": False, **settings}
    _be_told_already(data)
    async with (
        running_gateway(data, OFFLINE, **settings) as gateway,
        listening_client(gateway) as listener,
    ):
        yield listener


def _be_told_already(data: Path) -> None:
    """Else the first gateway of a folder asks mflux what it honours, for seconds and with descriptors of its own."""
    kept = data / "mflux" / f"capabilities-{version('mflux')}.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"schema_version": 1, "commands": []}')


def redraw(*, steps: int, side: int) -> HatchRequest:
    image = ImageOptions(steps=steps, width=side, height=side, seed=7)
    return HatchRequest(prompt="an owl folded from paper", persona=PERSONA, image=image)


def processes_below(directory: Path) -> Iterator[str]:
    """Processes that work in a directory."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cwd = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if cwd.startswith(str(directory)):
            yield pid


def has_begun_imports(pid: str) -> bool:
    """Whether a Python process has loaded mlx, which mflux imports long before it can draw."""
    try:
        return "libmlx" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


async def poll(happened: Callable[[], bool]) -> None:
    """Wait for what announces itself to nobody but the file system."""
    while not happened():  # noqa: ASYNC110
        await trio.sleep(0.001)


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.timeout(120)
async def test_every_step_is_told_while_the_command_runs(tmp_path: Path, checkpoint: Path) -> None:
    async with mflux_client(tmp_path, checkpoint) as listener:
        hatch = HatchRequest(prompt="an owl", image=ImageOptions(steps=6, width=768, height=768, seed=7))
        session = (await listener.start(hatch)).session
        await listener.until(Progress, lambda progress: progress.step == 2)
        running = list(processes_below(tmp_path / "jobs"))
        end = await listener.end(session)
        artifact = await listener.until(Artifact)
        picture = await listener.fetch(artifact)
    assert len(running) == 1, "the child lives while its second step is told"
    assert end.outcome == "done"
    assert end.receipt.worker == "exited"
    assert (end.receipt.steps_done, end.receipt.steps) == (6, 6)
    told = list(dict.fromkeys(progress.step for progress in listener.all(Progress) if progress.step is not None))
    assert told == [0, 1, 2, 3, 4, 5, 6], "one by one"
    assert all(progress.basis == "measured" for progress in listener.all(Progress) if progress.stage == "steps")
    last_step = next(time for time, m in listener.heard if isinstance(m, Progress) and m.step == 6)
    ended = next(time for time, m in listener.heard if isinstance(m, End))
    assert last_step < ended - 0.1, "decode, save and exit come after the last step"
    (tmp_path / "picture.png").write_bytes(picture)
    with Image.open(tmp_path / "picture.png") as image:
        image.load()
        assert image.size == (768, 768)
    maker = Maker(engine=Path(MFLUX_COMMAND).name, model=checkpoint.name, version=version("mflux"))
    assert (artifact.painter, artifact.seed, artifact.steps) == (maker, 7, 6)
    check_session(listener, session)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["import", "loop", "decode", "save"])
async def test_a_cancel_at_any_moment_leaves_nothing(tmp_path: Path, checkpoint: Path, moment: str) -> None:
    jobs, artifacts = tmp_path / "jobs", tmp_path / "artifacts"
    async with mflux_client(tmp_path, checkpoint) as listener:
        fds = len(os.listdir("/proc/self/fd"))
        session = (await listener.start(redraw(steps=8, side=512))).session
        match moment:
            case "import":
                await listener.until(State, lambda state: state.state == "drawing")
                await poll(lambda: any(has_begun_imports(pid) for pid in processes_below(jobs)))
            case "loop":
                await listener.until(Progress, lambda progress: progress.step == 3)
            case "decode":
                await listener.until(Progress, lambda progress: progress.stage == "decoding")
            case "save":
                await poll(lambda: any(jobs.glob("*/picture.png")))
        await listener.send(Cancel(id=1, session=session))
        end = await listener.end(session)
        assert list(processes_below(jobs)) == []
        assert files_below(jobs) == []
        assert files_below(artifacts) == []
        assert len(os.listdir("/proc/self/fd")) == fds
    assert end.outcome == "cancelled"
    assert end.receipt.worker == "exited"
    assert end.receipt.exit_code == -15
    assert listener.all(Artifact) == []
    check_session(listener, session)


@pytest.mark.timeout(120)
async def test_a_cancel_in_a_step_of_seconds_takes_less_than_half_a_second(
    tmp_path: Path, heavy_checkpoint: Path
) -> None:
    async with mflux_client(tmp_path, heavy_checkpoint) as listener:
        session = (await listener.start(redraw(steps=4, side=448))).session
        first = await listener.until(Progress, lambda progress: progress.step == 1)
        asked = trio.current_time()
        await listener.send(Cancel(id=1, session=session))
        end = await listener.end(session)
        took = trio.current_time() - asked
        assert list(processes_below(tmp_path / "jobs")) == []
    assert first.step_s is not None
    assert first.step_s > 1.0, "steps are slow enough to be cancelled in the middle of one"
    assert end.outcome == "cancelled"
    assert (end.receipt.steps_done, end.receipt.worker) == (1, "exited")
    assert took < 0.5


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("restarts", "outcome", "attempts"), [(1, "done", 2), (0, "failed", 1)])
async def test_a_warm_worker_killed_in_mid_step_costs_a_second_attempt_or_this_hatch_alone(
    tmp_path: Path, checkpoint: Path, restarts: int, outcome: str, attempts: int
) -> None:
    async with mflux_client(tmp_path, checkpoint, image__warm=True, hatch__restarts=restarts) as listener:
        session = (await listener.start(redraw(steps=8, side=512))).session
        await listener.until(Progress, lambda progress: progress.step == 2)
        (worker,) = processes_below(tmp_path / "jobs")
        os.kill(int(worker), signal.SIGKILL)
        end = await listener.end(session)
        later = (await listener.start(redraw(steps=2, side=64), id=101)).session
        assert (await listener.end(later)).outcome == "done"
    assert end.outcome == outcome
    assert max(snapshot.attempt for snapshot in listener.all(Snapshot, session)) == attempts
    assert end.error is None or (end.error.code, end.error.retryable) == ("image_failed", True)
    check_session(listener, session)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("patience_s", "worker"), [(60.0, "idle"), (0.3, "exited")])
async def test_a_cancel_keeps_the_warm_worker_if_its_step_ends_within_the_patience(
    tmp_path: Path, heavy_checkpoint: Path, patience_s: float, worker: str
) -> None:
    settings = {"image__warm": True, "cancel__patience_s": patience_s}
    async with mflux_client(tmp_path, heavy_checkpoint, **settings) as listener:
        session = (await listener.start(redraw(steps=4, side=448))).session
        first = await listener.until(Progress, lambda progress: progress.step == 1)
        await listener.send(Cancel(id=1, session=session))
        end = await listener.end(session)
    assert first.step_s is not None
    assert first.step_s > 1.0, "a step is longer than the short patience"
    assert (end.outcome, end.receipt.worker) == ("cancelled", worker)
    check_session(listener, session)
