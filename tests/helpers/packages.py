"""Packages of npm that a test needs: it is skipped where one is missing, and fails where one was promised.

They are looked for where NODE_PATH says; `.ci/run` installs them there if it can.
"""

import os
from pathlib import Path

import pytest

from tests.helpers.required import PROMISED


def package(name: str) -> Path:
    """The folder of a package. Skips the test without it, or fails it if the variable TESTS_REQUIRE names it."""
    for folder in filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        found = Path(folder) / name
        if found.is_dir():
            return found
    missing = f"the npm package {name} is not where NODE_PATH says"
    if name in [promised.strip() for promised in os.environ.get(PROMISED, "").split(",")]:
        pytest.fail(f"{missing}, and {PROMISED} says that it is")
    pytest.skip(missing)
