"""What an installed mflux says that its commands honour: asked of its own command once per version, kept on disk."""

import os
from collections.abc import Mapping
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
    """One command's flags, by mflux's own account; looked up when they are first needed."""

    def __init__(self, command: str, *, environ: Mapping[str, str], folder: Path, ask_s: float = ASK_S) -> None:
        """`command` is the command's path, beside which mflux's own teller lies; `folder` keeps what it said."""
        self._command = Path(command)
        self._environ = environ
        self._folder = folder
        self._ask_s = ask_s
        self._asking = trio.Lock()
        self._flags: dict[str, Flag] | None = None

    async def flags(self) -> dict[str, Flag]:
        """The command's flags by name; none if it is not mflux's, or mflux does not answer, which is logged."""
        async with self._asking:
            if self._flags is None:
                dump = await self._dump()
                told = [] if dump is None else [told for told in dump.commands if told.command == self._command.name]
                self._flags = {flag.flag: flag for command in told for flag in command.options}
        return self._flags

    async def _dump(self) -> _Dump | None:
        teller, version = await trio.to_thread.run_sync(_find_teller, self._command)
        if teller is None:
            return None
        kept = trio.Path(self._folder / f"capabilities-{version}.json")
        if version is not None and (dump := _read(await _content(kept))) is not None:
            return dump
        dump = _read(await self._ask(teller))
        if dump is None:
            log.warning(
                "mflux_does_not_tell", command=str(teller), effect="its options beyond size and steps are refused"
            )
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
                )
                return bytes(done.stdout)
        except OSError:
            pass
        return b""


def _find_teller(command: Path) -> tuple[Path | None, str | None]:
    """mflux's teller beside a command of its own, and the version that is installed there."""
    teller = command.resolve().with_name(COMMAND)
    if not command.name.startswith("mflux-") or not os.access(teller, os.X_OK):
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
