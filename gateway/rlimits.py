"""The limit of open files: a gateway needs one for each client and a few for each child, a shell allows 256 or 1024."""

import contextlib
import resource
from typing import Final

OPEN_FILES: Final = 65_536
TRIED: Final = (OPEN_FILES, 10_240)  # macOS refuses more than its own bound, which is OPEN_MAX at least


def raise_open_files() -> int:
    """Raise this process's soft limit of open files as far as the hard limit allows, to OPEN_FILES at most.

    Returns what it was, which is what a child should get: programs that use `select` break beyond 1024 files.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in TRIED:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if before == resource.RLIM_INFINITY or soft <= before:
            break
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            break
    return before
