"""Whether a terminal can be had and a child run on it: the way of every picture, tried."""

import os
from typing import Final

import trio

from actors.pty import PtySpec, open_pty
from gateway.doctor.finding import Finding, ok, problem
from protocol.errors import ImageUnavailable

PATIENCE_S: Final = 10.0
_SCRIPT: Final = 'test -t 0 && test -t 1 && test -t 2 && echo "on a terminal"'


async def check_terminal(argv: tuple[str, ...] = ("sh", "-c", _SCRIPT)) -> Finding:
    """Open one, run a trivial child on it, and read what it says."""
    began = trio.current_time()
    said = b""
    status = None
    try:
        with trio.move_on_after(PATIENCE_S):
            async with open_pty(PtySpec(argv, cwd="/", env={"PATH": os.defpath})) as child:
                while data := await child.receive():
                    said = (said + data)[-200:]
                status = await child.wait()
    except ImageUnavailable as error:
        return problem("terminal", error.message, "allow pseudo-terminals: mount devpts, or relax the sandbox")
    if status is None or status.code != 0:
        found = f"a child on a terminal did not end well and said {said.decode(errors='replace')!r}"
        return problem("terminal", found, "run hatchery outside the sandbox, or mount devpts on /dev/pts")
    return ok("terminal", f"a child ran on one in {(trio.current_time() - began) * 1000:.0f} ms")
