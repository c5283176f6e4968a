"""An environment with an mflux of some version, whose `mflux-capabilities` says what the test wants, when it wants."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PYTHON: Final = sys.executable  # before any test pretends another


def dump_of(command: str, flags: Sequence[str | dict[str, str]]) -> dict[str, Any]:
    """What `mflux-capabilities` prints of one command with these flags; a name alone is one that is honoured."""
    options = [{"flag": flag, "status": "honored"} if isinstance(flag, str) else flag for flag in flags]
    command_flags = {"command": command, "coverage": "full", "options": options}
    return {"schema_version": 1, "mflux_version": "9.1", "commands": [command_flags]}


class MfluxEnvironment:
    """Laid out as a virtual environment below `root`; how often its teller was asked is counted."""

    def __init__(self, root: Path, dump: dict[str, Any]) -> None:
        self.bin = root / "bin"
        self.kept = root / "kept"
        self._root = root
        self._asked, self._held = root / "asked", root / "held"
        self.bin.mkdir(parents=True)
        self.version("9.1")
        self.tells_dump(dump)

    def path(self, command: str) -> str:
        """Where a command would lie."""
        return str(self.bin / command)

    def version(self, version: str) -> None:
        """Another mflux is installed."""
        for installed in self._root.glob("lib/python3.11/site-packages/mflux-*"):
            shutil.rmtree(installed)
        metadata = self._root / f"lib/python3.11/site-packages/mflux-{version}.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: mflux\nVersion: {version}\n")

    def tells(self, script: str) -> None:
        """Have the teller do that, once it is not held."""
        count = f"open({str(self._asked)!r}, 'a').write('x')"
        wait = f"while os.path.exists({str(self._held)!r}): time.sleep(0.01)"
        self.command("mflux-capabilities", f"import os, time\n{count}\n{wait}\n{script}")

    def tells_dump(self, dump: dict[str, Any]) -> None:
        """Have the teller print that."""
        self.tells(f"print({json.dumps(json.dumps(dump))})")

    def command(self, name: str, script: str) -> None:
        """A command that is this Python script."""
        path = self.bin / name
        path.write_text(f"#!{PYTHON} -S\n{script}\n")
        path.chmod(0o755)

    def hold(self) -> None:
        """Let the teller be silent."""
        self._held.touch()

    def release(self) -> None:
        """Let it speak."""
        self._held.unlink()

    @property
    def times_asked(self) -> int:
        """How often the teller was begun."""
        return len(self._asked.read_text()) if self._asked.exists() else 0
