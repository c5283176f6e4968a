"""Programs of the machine that a test needs: it is skipped where one is missing, and fails where one was promised."""

import os
import shutil
from typing import Final

import pytest

PROMISED: Final = "TESTS_REQUIRE"  # names of programs, comma-separated; not HATCHERY_…, which are settings


def require(program: str) -> str:
    """The path of a program. Skips the test without it, or fails it if the variable TESTS_REQUIRE names it."""
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if found is not None:
        return found
    promised = [name.strip() for name in os.environ.get(PROMISED, "").split(",")]
    missing = f"{program} is not installed"
    if program in promised:
        pytest.fail(f"{missing}, and {PROMISED} says that it is")
    pytest.skip(missing)
