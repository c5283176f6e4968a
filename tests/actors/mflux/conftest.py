"""What the tests of image engines ask for."""

from pathlib import Path

import pytest

from tests.helpers.easel import Easel


@pytest.fixture
def easel(tmp_path: Path) -> Easel:
    return Easel(tmp_path)
