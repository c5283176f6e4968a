"""Gateways for the tests of the dialogue."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.serve import Gateway
from tests.helpers.dialogues import FAST, SLOW_DRAWING
from tests.helpers.gateways import running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path, **FAST) as gateway:
        yield gateway


@pytest.fixture
async def drawing(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose hatches never end by themselves."""
    async with running_gateway(tmp_path, **SLOW_DRAWING) as gateway:
        yield gateway
