"""One process per picture: any command that takes mflux's flags, run in a PTY and judged by the file that it leaves."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.engine import RenderJob, Tell
from actors.mflux.jobs import open_job_directory
from actors.mflux.watch import BarWatch
from actors.pty import ONE_SHOT_LADDER, ExitStatus, Keeper, PtyChild, PtySpec, open_pty
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, ImageUnavailable, Invalid
from protocol.mail import RenderStaged, WorkerLeft

PICTURE: Final = "picture.png"
SIDE_MULTIPLE: Final = 16  # pixels; mflux works on latents of 1/16 of the picture
_PASSED_ON: Final = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES: Final = ("HF_", "HUGGINGFACE_", "LC_", "MFLUX_", "MLX_", "TRANSFORMERS_", "XDG_", "SSL_")
_FLAGS: Final[dict[str, str]] = {"steps": "--steps", "width": "--width", "height": "--height"}
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
QUOTED_LINES: Final = 6
QUOTED_CHARS: Final = 200  # of each line


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """An image command: its argv without a job's own flags, and what is known of it beforehand."""

    name: str
    argv: tuple[str, ...]
    default_steps: int = 0  # 0: only the program knows
    takes_persona: bool = False  # it has `--persona-file`, as the demo renderer does


def demo_program() -> Program:
    """The demo renderer: a child program like any other, run by this Python."""
    argv = (sys.executable, "-m", "actors.mflux.demo_renderer")
    return Program(name="demo", argv=argv, default_steps=8, takes_persona=True)


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
    ) -> None:
        self.name = program.name
        self._program = program
        self._artifacts = artifacts
        self._jobs = jobs
        self._env = child_environment(environ)
        self._keeper = keeper

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._program.default_steps

    def check(self, image: ImageOptions) -> None:
        """See ImageEngine."""
        for name in ("model", "guidance", "lora", "negative_prompt", "input"):
            if getattr(image, name) is not None:
                raise Invalid(f"the engine {self.name} does not honour `{name}`", field=f"hatch.image.{name}")
        for name in ("width", "height"):
            if (getattr(image, name) or 0) % SIDE_MULTIPLE:
                raise Invalid(f"{name} must be a multiple of {SIDE_MULTIPLE}", field=f"hatch.image.{name}")

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine; a picture that decodes is trusted, an exit code is not."""
        try:
            async with open_job_directory(self._jobs, job.session) as directory:
                spec = PtySpec(argv=self._argv(job, directory), cwd=str(directory), env=self._env)
                last_words = await self._run(spec, tell)
                await tell(RenderStaged(stage="saving", basis="indeterminate", message="Checking the picture"))
                picture = directory / PICTURE
                try:
                    return await self._artifacts.adopt_png(picture, width=job.image.width, height=job.image.height)
                except ImageFailed as error:
                    raise ImageFailed(f"{error.message}; {last_words.text}", retryable=last_words.crashed) from error
        except OSError as error:
            raise ImageUnavailable(
                f"the picture's files cannot be written ({error.strerror}): free space or set server.data elsewhere"
            ) from error

    def _argv(self, job: RenderJob, directory: Path) -> tuple[str, ...]:
        """The prompt goes by file: any text is safe there, and it stays out of `ps`."""
        (directory / "prompt.txt").write_text(job.persona.avatar_prompt, encoding="utf-8")
        argv = [*self._program.argv, "--prompt-file", "prompt.txt", "--output", PICTURE, "--seed", str(job.seed)]
        if self._program.takes_persona:
            (directory / "persona.json").write_bytes(msgspec.json.encode(job.persona))
            argv += ["--persona-file", "persona.json"]
        for name, flag in _FLAGS.items():
            value = getattr(job.image, name)
            argv += [] if value is None else [flag, str(value)]
        return tuple(argv)

    async def _run(self, spec: PtySpec, tell: Tell) -> "_LastWords":
        watch = BarWatch(trio.current_time())
        child: PtyChild | None = None
        try:
            async with open_pty(spec, ladder=ONE_SHOT_LADDER, keeper=self._keeper) as child:
                while data := await child.receive():
                    for letter in watch.feed(data, trio.current_time()):
                        await tell(letter)
                await child.wait()
        finally:
            if child is not None:
                with trio.CancelScope(shield=True):
                    await tell(_farewell(child.status))
        return _last_words(self.name, child.status, watch.last_lines)


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


def _last_words(name: str, status: ExitStatus | None, lines: tuple[str, ...]) -> _LastWords:
    signal = status.signal if status else None
    how = f"was killed by signal {signal}" if signal else f"exited with {status.code if status else 'no status'}"
    printable = ("".join(c if c.isprintable() else " " for c in line[:QUOTED_CHARS]).strip() for line in lines)
    said = list(filter(None, printable))[-QUOTED_LINES:]
    quote = "; its last lines:\n" + "\n".join(said) if said else " and said nothing"
    return _LastWords(f"{name} {how}{quote}", crashed=signal is not None)
