"""One process per picture: any command that takes mflux's flags, run in a PTY and judged by the file that it leaves."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.capabilities import Capabilities, Flag
from actors.mflux.engine import RenderJob, Tell
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.inputs import INPUT, lay_input, shaped
from actors.mflux.jobs import open_job_directory
from actors.mflux.offer import Offer
from actors.mflux.options import FLAGS, PLAIN, PLAIN_FLAGS, flag_for, may_honour, objections, refuse, unhonoured
from actors.mflux.previews import PreviewSettings, with_previews
from actors.mflux.silence import Silence
from actors.mflux.warm.models import WARM_MODELS
from actors.mflux.warm.program import read_command_line
from actors.mflux.watch import BarWatch
from actors.pty import ONE_SHOT_LADDER, ExitStatus, Keeper, PtyChild, PtySpec, open_pty
from actors.race import race
from actors.store.durations import Work
from actors.versions import own_version
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, ImageUnavailable, Invalid
from protocol.events import Choices
from protocol.forecast import Forecast, Range
from protocol.mail import RenderStaged, WorkerLeft
from protocol.maker import Maker, model_name
from protocol.stall import StallLimits

PICTURE: Final = "picture.png"
STEPS: Final = "steps"  # the folder of the pictures after each step
SIDE_MULTIPLE: Final = 16  # pixels; mflux works on latents of 1/16 of the picture
_PASSED_ON: Final = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES: Final = ("HF_", "HUGGINGFACE_", "LC_", "MFLUX_", "MLX_", "TRANSFORMERS_", "XDG_", "SSL_")
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
QUOTED_LINES: Final = 6
QUOTED_CHARS: Final = 200  # of each line
_FRAME: Final = re.compile(r"Traceback \(most recent|\s+\S")  # of a Python traceback; its error is not indented


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """An image command: its argv without a job's own flags, and what is known of it beforehand."""

    name: str
    argv: tuple[str, ...]
    default_steps: int = 0  # 0: only the program knows
    takes_persona: bool = False  # it has `--persona-file`, as the demo renderer does
    model: str | None = None
    version: str | None = None
    flags: tuple[Flag, ...] = ()  # that it honours besides the plain ones


def demo_program() -> Program:
    """The demo renderer: a child program like any other, run by this Python."""
    argv = (sys.executable, "-m", "actors.mflux.demo_renderer")
    flags = (Flag(flag="--image-path"),)
    return Program(name="demo", argv=argv, default_steps=8, takes_persona=True, version=own_version(), flags=flags)


class OneShotEngine:
    """Draws by running `program` once per picture; the child's output is thrown away when it is cancelled."""

    def __init__(
        self,
        program: Program,
        *,
        artifacts: ArtifactStore,
        jobs: Path,
        environ: Mapping[str, str],
        keeper: Keeper | None = None,
        pace: Pace | None = None,
        previews: PreviewSettings | None = None,
        stalls: StallLimits = StallLimits(),  # noqa: B008 - frozen
        offer: Offer = Offer(),  # noqa: B008 - frozen
        capabilities: Capabilities | None = None,
    ) -> None:
        self.name = program.name
        self._program = program
        self._line = read_command_line(program.argv)
        self._known = WARM_MODELS.get(program.name)
        self._offer = offer
        self._capabilities = capabilities
        self._artifacts = artifacts
        self._jobs = jobs
        self._env = child_environment(environ)
        self._keeper = keeper
        self._pace = pace or Pace(MemoryHistory())
        self._previews = previews
        self._stalls = stalls

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._program.default_steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        chosen = self._offer.choice(image).model
        model = chosen.path if chosen else self._program.model
        return Maker(engine=self.name, model=model and model_name(model), version=self._program.version)

    @property
    def choices(self) -> Choices | None:
        """See ImageEngine; more exactly once mflux has said what its command honours."""
        return self._offer.choices(partial(may_honour, flags=self._flags, known=self._known))

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine; where mflux has not said, or does not, what its command honours, the known model decides."""
        flags = self._flags
        if flags is not None and (flags or self._known is None):
            refuse(self.name, unhonoured(image, flags or PLAIN))
        self._offer.check(image, self._line.model)
        for name in ("width", "height"):
            if (getattr(image, name) or 0) % SIDE_MULTIPLE:
                raise Invalid(f"{name} must be a multiple of {SIDE_MULTIPLE}", field=f"hatch.image.{name}")
        if self._known is not None:
            model = self._offer.choice(image).model
            named = (model.base_model or model.path) if model else (self._line.base_model or self._line.model)
            refuse(self.name, objections(self._known, self._known.checkpoint(named), image, self._line.guidance))

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine; what only some commands honour has to wait for what mflux says of this one."""
        special = any(getattr(image, name) is not None for name in FLAGS.keys() - PLAIN_FLAGS.keys())
        if special and self._flags is None and self._capabilities is not None:
            await self._capabilities.told()
        await self.check(image)

    @property
    def _flags(self) -> Mapping[str, Flag] | None:
        """The command's flags; none if nobody knows them, None as long as mflux may tell."""
        if self._program.flags:
            return {**PLAIN, **{flag.flag: flag for flag in self._program.flags}}
        return {} if self._capabilities is None else self._capabilities.flags

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine."""
        return await self._pace.whole(self._work(image))

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine; what a process loads ends with it."""

    def hurry(self) -> None:
        """See ImageEngine; a cancelled process is ended at once anyway."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine; a picture that decodes is trusted, an exit code is not."""
        await self.check(job.image)  # what mflux has said since; or another offer, of a hatch that is begun again
        if not self._line.sized:
            job = shaped(job, self._known.multiple if self._known else SIDE_MULTIPLE)
        try:
            async with open_job_directory(self._jobs, job.session) as directory:
                argv = (*self._argv(job, directory), *await self._input_flags(job, directory))
                spec = PtySpec(argv=argv, cwd=str(directory), env=self._env)
                work = self._work(job.image)
                forecast = await self._pace.forecast(work)
                async with with_previews(directory / STEPS, tell, self._previews) as tell_and_show:
                    last_words = await self._run(spec, tell_and_show, forecast)
                ended = trio.current_time()
                await tell(RenderStaged(stage="saving", basis="indeterminate", message="Checking the picture"))
                picture = directory / PICTURE
                try:
                    stored = await self._artifacts.adopt_png(picture, width=job.image.width, height=job.image.height)
                except ImageFailed as error:
                    raise ImageFailed(f"{error.message}; {last_words.text}", retryable=last_words.crashed) from error
                self._pace.learn(work, forecast, ended)
                return stored
        except OSError as error:
            raise ImageUnavailable(
                f"the picture's files cannot be written ({error.strerror}): free space or set server.data elsewhere"
            ) from error

    def _work(self, image: ImageOptions) -> Work:
        """The command's own flags name its model and quantization."""
        words = [self.name, *self._command(image)[1:], *(["with previews"] if self._previews else [])]
        words += ["from an input"] if image.input is not None else []
        steps = self.planned_steps(image)
        return Work(engine=shlex.join(words), width=image.width or 0, height=image.height or 0, steps=steps)

    def _command(self, image: ImageOptions) -> tuple[str, ...]:
        """The command line with the hatch's own model and LoRAs, whose places are the operator's words."""
        choice = self._offer.choice(image)
        argv = list(self._program.argv)
        if choice.model is not None:
            argv = [*self._line.rest, f"--model={choice.model.path}"]
            argv += [f"--base-model={choice.model.base_model}"] if choice.model.base_model else []
        for path, scale in choice.lora:
            argv += ["--lora", path, f"{scale:f}"]  # without an exponent, which a parser takes for a flag
        return tuple(argv)

    async def _input_flags(self, job: RenderJob, directory: Path) -> tuple[str, ...]:
        if await lay_input(job, directory) is None:
            return ()
        told = flag_for("input", self._flags or {})
        known = "--image-paths" if self._known and "references" in self._known.honours else "--image-path"
        return (f"{told.flag if told else known}={INPUT}",)

    def _argv(self, job: RenderJob, directory: Path) -> tuple[str, ...]:
        """The prompt goes by file: any text is safe there, and it stays out of `ps`."""
        (directory / "prompt.txt").write_text(job.persona.avatar_prompt, encoding="utf-8")
        argv = [*self._command(job.image), "--prompt-file", "prompt.txt", "--output", PICTURE, "--seed", str(job.seed)]
        if self._program.takes_persona:
            (directory / "persona.json").write_bytes(msgspec.json.encode(job.persona))
            argv += ["--persona-file", "persona.json"]
        if self._previews is not None:
            argv += ["--stepwise-image-output-dir", STEPS]
        for name, flag in PLAIN_FLAGS.items():
            value = getattr(job.image, name)
            argv += [] if value is None else [flag, str(value)]
        if job.image.guidance is not None:
            argv.append(f"--guidance={job.image.guidance}")
        if job.image.negative_prompt is not None:
            argv.append(f"--negative-prompt={job.image.negative_prompt}")
        return tuple(argv)

    async def _run(self, spec: PtySpec, tell: Tell, forecast: Forecast) -> "_LastWords":
        watch = BarWatch(trio.current_time(), forecast)
        child: PtyChild | None = None
        try:
            async with open_pty(spec, ladder=ONE_SHOT_LADDER, keeper=self._keeper) as child:
                await self._follow(child, watch, tell)
                await child.wait()
        finally:
            if child is not None:
                with trio.CancelScope(shield=True):
                    await tell(_farewell(child.status))
        return _last_words(self.name, child.status, watch.last_lines)

    async def _follow(self, child: PtyChild, watch: BarWatch, tell: Tell) -> None:
        """Tell what the child's output, and its silence, mean. Raises ImageFailed when it is silent for too long."""
        silence = Silence(trio.current_time())

        async def listen() -> None:
            while data := await child.receive():
                now = trio.current_time()
                silence.broken(now)
                for letter in watch.feed(data, now):
                    await tell(letter)

        async def mind_silence() -> None:
            while True:
                now = await silence.lasts()
                for letter in watch.look(now):
                    await tell(letter)
                if reproach := watch.stalled(self._stalls, now):
                    raise ImageFailed(f"{self.name} {reproach}", retryable=True)

        await race(listen, mind_silence)


class _LastWords(msgspec.Struct, frozen=True):
    """How a child ended, in words for people, and whether it was killed rather than gave up."""

    text: str
    crashed: bool


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child may know of our environment, and a terminal that shows every tick of its bars."""
    passed = {key: value for key, value in environ.items() if _is_passed_on(key)}
    passed.setdefault("PATH", os.defpath)
    return {**passed, "TERM": "xterm-256color", "TQDM_MININTERVAL": "0", "PYTHONUNBUFFERED": "1"}


def _is_passed_on(name: str) -> bool:
    return name in _PASSED_ON or name.upper() in _PROXIES or name.startswith(_PASSED_ON_PREFIXES)


def _farewell(status: ExitStatus | None) -> WorkerLeft:
    if status is None:
        return WorkerLeft(fate="stuck")
    return WorkerLeft(fate="exited", exit_code=-status.signal if status.signal else status.code)


def quotable(lines: tuple[str, ...]) -> list[str]:
    """The last lines that a person can use: printable, short, and of a traceback only what went wrong, not where."""
    printable = ("".join(c if c.isprintable() else " " for c in line[:QUOTED_CHARS]) for line in lines)
    said = [line for line in printable if line.strip() and not _FRAME.match(line)]
    return [line.strip() for line in said[-QUOTED_LINES:]]


def _last_words(name: str, status: ExitStatus | None, lines: tuple[str, ...]) -> _LastWords:
    signal = status.signal if status else None
    how = f"was killed by signal {signal}" if signal else f"exited with {status.code if status else 'no status'}"
    said = quotable(lines)
    quote = "; its last lines:\n" + "\n".join(said) if said else " and said nothing"
    return _LastWords(f"{name} {how}{quote}", crashed=signal is not None)
