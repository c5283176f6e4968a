"""What the tests of several actors ask for."""

import os
from collections.abc import Iterator

import pytest

from tests.helpers.descriptors import open_descriptors


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No test may leave a descriptor or an uncollected child."""
    before = open_descriptors()
    yield
    assert open_descriptors() <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
