"""What a warm worker saves and costs, with real mflux and tiny checkpoints: `python -m tests.bench.warm [PART…]`.

Parts: `start` (first step, warm against one-shot), `overhead` (a job against a bare loop around generate_image),
`previews` (what a step costs more with them), `cancel` (in a step of seconds, with and without patience) and `soak` (50
jobs, 15 of them cancelled).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import trio

from actors.mflux.previews import PreviewLimits, PreviewSettings
from actors.mflux.warm.engine import WarmSettings
from protocol.mail import StepFinished
from tests.helpers.tiny_mflux import mflux_env, tiny_checkpoint
from tests.real.test_warm import Bench, at_stage, at_step, one_shot_bench, open_files, resident_kib, warm_bench

PAIRS = 5
LOOP_JOBS, LOOP_STEPS, LOOP_SIDE = 6, 8, 512
CANCELS = 4
STEP_SIDE = 448
JOBS, CANCELLED = 50, 15

BARE_LOOP = """
import json, sys, time
from pathlib import Path
from mflux.models.common.config import ModelConfig
from mflux.models.qwen21.variants.edit.qwen_image_21_edit import QwenImage21Edit

model_path, output, jobs, steps, side = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
model = QwenImage21Edit(model_path=model_path, model_config=ModelConfig.qwen_image_21())
times = []
for job in range(jobs):
    began = time.perf_counter()
    image = model.generate_image(
        seed=job, prompt="an owl folded from paper", num_inference_steps=steps, width=side, height=side
    )
    image.save(Path(output) / f"{job}.png")
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""


async def start(directory: Path, tiny: Path) -> None:
    """Seconds from the job to its first step, interleaved."""
    one_shot = one_shot_bench(directory, tiny)
    cold, warm_ = [], []
    async with warm_bench(directory, tiny) as warm:
        expected = warm.pixels(await warm.draw())
        for _ in range(PAIRS):
            assert one_shot.pixels(await one_shot.draw()) == expected
            cold.append(one_shot.first_step_s)
            assert warm.pixels(await warm.draw()) == expected
            warm_.append(warm.first_step_s)
    ratio = statistics.median(cold) / statistics.median(warm_)
    print(f"first step: one-shot {_spread(cold)}, warm {_spread(warm_)}: {ratio:.0f} times sooner; same pixels")


async def overhead(directory: Path, tiny: Path) -> None:
    """A whole job through the engine against generate_image and save in a loop, in rounds that alternate."""
    bare, ours = [], []
    async with warm_bench(directory, tiny) as warm:
        await _timed(warm)
        for _ in range(2):
            bare += (await trio.to_thread.run_sync(_bare_loop, directory, tiny))[1:]
            ours += [await _timed(warm) for _ in range(LOOP_JOBS - 1)]
    shares = (statistics.median(ours) / statistics.median(bare) - 1, min(ours) / min(bare) - 1)
    print(f"a job of {LOOP_STEPS} steps at {LOOP_SIDE}: bare loop {_spread(bare)}, warm {_spread(ours)}: ", end="")
    print("medians {:+.1%}, least disturbed {:+.1%}".format(*shares))


async def previews(directory: Path, tiny: Path) -> None:
    """A step whose picture is decoded, saved and shown against one that is not, in rounds that alternate."""
    settings = PreviewSettings(limits=PreviewLimits(), limiter=trio.CapacityLimiter(1))
    async with (
        warm_bench(directory, tiny) as plain,
        warm_bench(directory / "shown", tiny, previews=settings) as showing,
    ):
        without, with_ = [], []
        for _ in range(PAIRS):
            without.append(await _step_s(plain))
            with_.append(await _step_s(showing))
    cost_s = statistics.median(with_) - statistics.median(without)
    print(f"a step at {STEP_SIDE}: {_spread(without)}, with a preview {_spread(with_)}: {cost_s:.3f} s more")


async def cancel(directory: Path, heavy: Path) -> None:
    """Asked for in the middle of a long step: how much longer than the step it takes, and than the patience."""
    async with warm_bench(directory, heavy) as warm:
        step_s = await _step_s(warm)
        late = []
        for _ in range(CANCELS):
            took = await warm.draw_until(at_step(1), 0.3, side=STEP_SIDE, steps=4)
            late.append(took - (step_s - 0.3))
            assert warm.left.fate == "idle"
        print(f"cancel in a step of {step_s:.1f} s: model kept; receipt {_spread(late)} after the step's usual end")
    patience_s = 0.5
    async with warm_bench(directory, heavy, WarmSettings(patience_s=patience_s)) as warm:
        late = []
        for _ in range(2):
            late.append(await warm.draw_until(at_step(1), 0.3, side=STEP_SIDE, steps=4) - patience_s)
            assert warm.left.fate == "exited"
        print(f"with a patience of {patience_s} s: worker replaced; receipt {_spread(late)} after the patience's end")


async def soak(directory: Path, tiny: Path) -> None:
    """Cancels at random moments; then one worker, the same pixels, and no growth."""
    random = Random(11)
    cancelled = set(random.sample(range(JOBS), CANCELLED))
    async with warm_bench(directory, tiny) as warm:
        expected = warm.pixels(await warm.draw(side=256))
        await warm.draw(side=256)
        (worker,) = warm.workers
        before = open_files("self"), open_files(worker), resident_kib(worker), resident_kib(os.getpid())
        for job in range(JOBS):
            if job in cancelled:
                await warm.draw_until(at_stage("encoding"), random.uniform(0.0, 0.6), side=256, steps=20)
            else:
                assert warm.pixels(await warm.draw(side=256)) == expected
            assert warm.left.fate == "idle"
        assert warm.workers == [worker]
        after = open_files("self"), open_files(worker), resident_kib(worker), resident_kib(os.getpid())
    print(f"{JOBS} jobs, {CANCELLED} cancelled: one worker; files {before[:2]} -> {after[:2]}, ", end="")
    print(f"worker {before[2] >> 10} -> {after[2] >> 10} MiB, gateway {before[3] >> 10} -> {after[3] >> 10} MiB")


async def _timed(warm: Bench) -> float:
    began = trio.current_time()
    await warm.draw(steps=LOOP_STEPS, side=LOOP_SIDE)
    return trio.current_time() - began


async def _step_s(warm: Bench) -> float:
    await warm.draw(steps=4, side=STEP_SIDE)
    return statistics.median(m.step_s for _, m in warm.told if isinstance(m, StepFinished) and m.step > 1 and m.step_s)


def _bare_loop(directory: Path, tiny: Path) -> list[float]:
    directory.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", BARE_LOOP, str(tiny), str(directory), str(LOOP_JOBS), str(LOOP_STEPS), str(LOOP_SIDE)]
    done = subprocess.run(argv, env=mflux_env(), check=True, capture_output=True, timeout=300)
    times: list[float] = json.loads(done.stdout)
    return times


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} s ({min(values):.3f}-{max(values):.3f})"


async def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tiny = await trio.to_thread.run_sync(lambda: tiny_checkpoint(directory / "tiny"))
        heavy = await trio.to_thread.run_sync(lambda: tiny_checkpoint(directory / "heavy", layers=1, width=512))
        for part, checkpoint in ((start, tiny), (overhead, tiny), (previews, tiny), (cancel, heavy), (soak, tiny)):
            if not parts or part.__name__ in parts:
                await part(directory / part.__name__, checkpoint)


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
