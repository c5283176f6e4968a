"""A directory per job, private, made before it and removed after it, whatever happens in between."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

REMOVE_S: Final = 5.0


@asynccontextmanager
async def open_job_directory(root: Path, session: str) -> AsyncIterator[Path]:
    """An empty directory below `root` for one job of `session`. Raises OSError when it cannot be made."""
    directory = await trio.to_thread.run_sync(_make, root, session)
    try:
        yield directory
    finally:
        with trio.move_on_after(REMOVE_S, shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True), abandon_on_cancel=True)


def _make(root: Path, session: str) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{session}-", dir=root))
