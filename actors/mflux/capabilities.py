"""What an installed mflux says that its commands honour: asked of its own command once per version, kept on disk.

It takes seconds to answer, so it is asked in the background, and nobody waits for it who need not.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog
import trio

from actors.versions import version_beside

log = structlog.get_logger(__name__)

COMMAND: Final = "mflux-capabilities"
ASK_S: Final = 120.0  # it imports all of mflux's commands: 5 s on Linux, 33 s where there is torch too


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One flag of a command; `reason` says why it is ignored or rejected, `condition` when it is honoured."""

    flag: str
    status: Literal["honored", "conditional", "ignored", "rejected"] = "honored"
    reason: str = ""
    condition: str = ""


class _CommandFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of one command; none if mflux cannot tell."""

    command: str
    options: list[Flag] = []


class _Dump(msgspec.Struct, frozen=True, kw_only=True):
    """The part of `mflux-capabilities --format json` that is of use here, as schema version 1 has it."""

    schema_version: Literal[1]
    commands: list[_CommandFlags]


class Capabilities:
    """One command's flags, by mflux's own account."""

    def __init__(self, command: str, *, environ: Mapping[str, str], folder: Path, ask_s: float = ASK_S) -> None:
        """`command` is the command's path, beside which mflux's own teller lies; `folder` keeps what it said."""
        self._command = Path(command)
        self._environ = environ
        self._folder = folder.resolve()  # what a link leads to can be made, if there is something to keep
        self._ask_s = ask_s
        self._told = trio.Event()
        self.flags: Mapping[str, Flag] | None = None
        """By name; none of them if mflux does not answer, or the command is not its own; None as long as it may."""
        if not self._command.name.startswith("mflux-"):
            self._tell({})

    async def told(self) -> Mapping[str, Flag]:
        """Wait until mflux has answered, or will not."""
        await self._told.wait()
        return self.flags or {}

    async def learn(self) -> None:
        """Read what is kept, or else ask mflux, which is logged if it does not answer."""
        if self.flags is not None:
            return
        dump = await self._dump()
        commands = [] if dump is None else [told for told in dump.commands if told.command == self._command.name]
        self._tell({flag.flag: flag for command in commands for flag in command.options})

    def _tell(self, flags: Mapping[str, Flag]) -> None:
        self.flags = flags
        self._told.set()

    async def _dump(self) -> _Dump | None:
        teller, version = await trio.to_thread.run_sync(_find_teller, self._command)
        if teller is None:
            return None
        kept = trio.Path(self._folder / f"capabilities-{version}.json")
        if version is not None and (dump := _read(await _content(kept))) is not None:
            return dump
        dump = _read(await self._ask(teller))
        if dump is None:
            log.warning("mflux_does_not_tell", command=str(teller), effect="only options known beforehand are honoured")
        elif version is not None:
            await _keep(kept, msgspec.json.encode(dump))
        return dump

    async def _ask(self, teller: Path) -> bytes:
        try:
            with trio.move_on_after(self._ask_s):
                done = await trio.run_process(
                    [str(teller), "--format", "json"],
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=dict(self._environ),
                    deliver_cancel=_kill,
                )
                return bytes(done.stdout)
        except OSError:
            pass
        return b""


@asynccontextmanager
async def open_capabilities(
    command: str, *, environ: Mapping[str, str], folder: Path, ask_s: float = ASK_S
) -> AsyncIterator[Capabilities]:
    """What mflux says of a command, learned while the block runs; at its end nobody is asked any more."""
    capabilities = Capabilities(command, environ=environ, folder=folder, ask_s=ask_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(capabilities.learn)
        yield capabilities
        nursery.cancel_scope.cancel()


async def _kill(process: trio.Process) -> None:
    """There is nothing to lose, and the gateway may be about to stop."""
    process.kill()


def _find_teller(command: Path) -> tuple[Path | None, str | None]:
    """mflux's teller beside a command of its own, and the version that is installed there."""
    teller = command.resolve().with_name(COMMAND)
    if not os.access(teller, os.X_OK):
        return None, None
    return teller, version_beside(str(command), "mflux")


def _read(said: bytes) -> _Dump | None:
    try:
        return msgspec.json.decode(said, type=_Dump)
    except (msgspec.DecodeError, RecursionError):
        return None


async def _content(path: trio.Path) -> bytes:
    try:
        return await path.read_bytes()
    except OSError:
        return b""


async def _keep(path: trio.Path, content: bytes) -> None:
    """In one piece or not at all; without it mflux is asked again."""
    temporary = path.with_suffix(".new")
    try:
        await path.parent.mkdir(parents=True, exist_ok=True)
        await temporary.write_bytes(content)
        await temporary.replace(path)
    except OSError as error:
        log.warning("mflux_capabilities_not_kept", reason=error.strerror)
