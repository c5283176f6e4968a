"""The warm worker: a child program that loads one mflux model on its main thread and then draws job after job.

Orders and reports travel over its own pipes; progress is the real bars on its terminal. Ctrl-C stops the running job at
the end of its step and keeps the model. Run as `python -m actors.mflux.warm.worker INBOX OUTBOX`, two descriptors.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Final

from actors.mflux.warm.models import WARM_MODELS, WarmModel
from actors.mflux.warm.wire import (
    MESSAGE_CHARS,
    ORDER_BYTES,
    Draw,
    Drawn,
    Failed,
    FrameReader,
    Idle,
    Interrupted,
    Leaving,
    Order,
    Outcome,
    Ready,
    Report,
    Setup,
    Started,
    Stopped,
    Unloadable,
    frame,
    job_mark,
)

READ_BYTES: Final = 65536
IMAGE_STRENGTH: Final = 0.4  # the commands' own default (`--image-strength`), which the classes do not share
_PROMPT_CACHES: Final = ("prompt_cache", "_prompt_cache")


class Worker:
    """Reads orders, writes reports, and lets Ctrl-C stop a job but never itself."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self._began = time.perf_counter()
        self._inbox = inbox
        self._outbox = outbox
        self._frames: FrameReader[Order] = FrameReader(Order, ORDER_BYTES)
        self._orders: deque[Order] = deque()
        self._stoppable = False
        self._interrupted = False
        self._woken, woken_by = os.pipe()
        os.set_blocking(woken_by, False)
        signal.set_wakeup_fd(woken_by, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, self._on_interrupt)

    def run(self) -> int:
        """Work until told to leave; the exit code is 1 if there is no model to work with."""
        match self._next_order(None):
            case Setup() as setup:
                pass
            case _:
                return 0
        try:
            painter = Painter(setup)
        except Exception as error:
            self._say(Unloadable(message=_words(error)))
            return 1
        self._say(Ready(load_s=time.perf_counter() - self._began, model=painter.model, version=version("mflux")))
        self._say(Leaving(reason=self._work(setup, painter)))
        return 0

    def _work(self, setup: Setup, painter: "Painter") -> str:
        """Draw until it is time to leave, and return why."""
        for _ in range(setup.jobs):
            rss_bytes = resident_bytes()
            if rss_bytes > setup.memory_bytes:
                return f"its memory grew to {rss_bytes} bytes"
            self._say(Idle(rss_bytes=rss_bytes))
            match self._next_order(setup.idle_s):
                case Draw() as job:
                    outcome = self._perform(job, painter)
                    painter.tidy_up()
                    print(f"\r\n{job_mark(job.job)}\r\n", end="", flush=True)
                    self._say(outcome)
                    gc.collect()  # what an exception still holds together is mostly arrays
                case _:
                    return "nothing to do"
        return f"{setup.jobs} jobs are done"

    def _perform(self, job: Draw, painter: "Painter") -> Outcome:
        """Draw one picture; at most one Ctrl-C gets through, as KeyboardInterrupt, wherever it finds the job."""
        try:
            self._interrupted, self._stoppable = False, True
            self._say(Started(job=job.job))
            outcome = self._paint(job, painter)
        except KeyboardInterrupt:
            return Stopped(job=job.job)
        return Stopped(job=job.job) if self._interrupted else outcome  # mflux or a destructor may have swallowed it

    def _paint(self, job: Draw, painter: "Painter") -> Outcome:
        began = time.perf_counter()
        try:
            painter.paint(job)
            return Drawn(job=job.job, seconds=time.perf_counter() - began)
        except Exception as error:
            return Failed(job=job.job, kind=type(error).__name__, message=_words(error))
        finally:
            self._stoppable = False

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._stoppable:
            self._stoppable, self._interrupted = False, True
            raise KeyboardInterrupt
        self._say(Interrupted())

    def _next_order(self, patience_s: float | None) -> Order | None:
        """The next order; None when there will be none, or was none for so many seconds."""
        while not self._orders:
            ready, _, _ = select.select([self._inbox, self._woken], [], [], patience_s)
            if self._woken in ready:
                os.read(self._woken, READ_BYTES)  # a signal that another thread took has been handled by now
                continue
            if not ready:
                return None
            data = os.read(self._inbox, READ_BYTES)
            if not data:
                return None
            self._orders.extend(self._frames.feed(data))
        return self._orders.popleft()

    def _say(self, report: Report) -> None:
        """Write it undisturbed: the signal handler's reports may come between two others, but not into one."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with contextlib.suppress(BrokenPipeError):  # whoever listened is gone: the inbox ends as well
                os.write(self._outbox, frame(report))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Painter:
    """One loaded model of mflux, to be used on the thread that made it."""

    def __init__(self, setup: Setup) -> None:
        """Load it; raises whatever mflux raises when it cannot."""
        self._warm = WARM_MODELS[setup.command]
        self._tqdm = import_module("tqdm").tqdm
        self._default_steps, self._model = _load(self._warm, setup)
        self._stepwise: Any = None
        self.model = str(self._model.model_config.model_name)
        gc.collect()
        gc.freeze()  # the model and its libraries stay: collecting after each job then takes milliseconds

    def paint(self, job: Draw) -> None:
        """Draw and save one picture; raises whatever mflux raises when it cannot."""
        asked: dict[str, Any] = {
            "num_inference_steps": job.steps or self._default_steps,
            "width": job.width,
            "height": job.height,
            "guidance": self._warm.guidance if job.guidance is None else job.guidance,
            "scheduler": self._warm.scheduler,
            "negative_prompt": job.negative_prompt or ("" if "negative_prompt" in self._warm.honours else None),
        }
        if job.input is not None and "references" in self._warm.honours:
            asked |= {"image_paths": [job.input], "strength": job.strength}
        elif job.input is not None:
            strength = IMAGE_STRENGTH if job.strength is None else job.strength
            asked |= {"image_path": job.input, "image_strength": strength}
        given = {name: value for name, value in asked.items() if value is not None}
        if job.stepwise is not None and self._warm.latents is not None:
            self._stepwise = _stepwise(self._model, self._warm.latents, job.stepwise)
            self._model.callbacks.register(self._stepwise)
        image = self._model.generate_image(seed=job.seed, prompt=job.prompt.strip(), **given)
        image.save(Path(job.output))

    def tidy_up(self) -> None:
        """Undo what a job leaves: its previews, its prompt, and a stopped bar that would push the next one down."""
        for callbacks in vars(self._model.callbacks).values():
            callbacks[:] = [callback for callback in callbacks if callback is not self._stepwise]
        self._stepwise = None
        for name in _PROMPT_CACHES:
            getattr(self._model, name, {}).clear()
        for bar in list(getattr(self._tqdm, "_instances", ())):
            bar.close()


def _load(warm: WarmModel, setup: Setup) -> tuple[int, Any]:
    """The default number of steps and the model, both as the command itself would choose them."""
    defaults = import_module("mflux.cli.defaults.defaults")
    resolution = import_module("mflux.models.common.resolution.config_resolution").ConfigResolution
    class_ = getattr(import_module(warm.module), warm.name)
    default, *family = (checkpoint.key for checkpoint in warm.checkpoints)
    model_path = None if setup.model is None or setup.model in defaults.model_choices() else setup.model
    if warm.needs_model:
        config = resolution.resolve(model_name=setup.model, base_model=setup.base_model)
    else:
        config = resolution.resolve_restricted(
            setup.model, default, model_path=model_path, extra_keys=tuple(family), base_model=setup.base_model
        )
    steps = defaults.model_inference_steps(
        setup.model, setup.base_model, fallback_model=None if warm.needs_model else default
    )
    lora = {}
    if setup.lora:
        resolve = import_module("mflux.models.common.resolution.lora_resolution").LoraResolution.resolve
        lora["lora_paths"] = [resolve(path) for path, _ in setup.lora]
        lora["lora_scales"] = [scale for _, scale in setup.lora]
    images = import_module("mflux.utils.image_util").ImageUtil
    images.embed_metadata_enabled = False  # nobody is to read our paths there
    return steps, class_(quantize=setup.quantize, model_path=model_path, model_config=config, **lora)


def _stepwise(model: Any, latents: str, folder: str) -> Any:
    """mflux's own callback that saves the picture after each step, without the composite of them all."""
    module, _, name = latents.rpartition(".")
    handler = import_module("mflux.callbacks.instances.stepwise_handler").StepwiseHandler(
        model=model, output_dir=folder, latent_creator=getattr(import_module(module), name)
    )
    handler._save_composite = lambda **_seed: None  # grows with each step, and nobody looks at it
    return handler


def resident_bytes() -> int:
    """Resident memory in bytes; where the system does not tell the present one (macOS), the highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:MESSAGE_CHARS]


def main() -> int:
    """Work on the descriptors that the command line names."""
    inbox, outbox = (int(number) for number in sys.argv[1:])
    for fd in (inbox, outbox):
        os.set_inheritable(fd, False)
    return Worker(inbox, outbox).run()


if __name__ == "__main__":
    sys.exit(main())
