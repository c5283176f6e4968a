"""A directory per job: private, empty, and gone afterwards."""

import os
import stat
from pathlib import Path

import pytest
import trio

from actors.mflux.jobs import open_job_directory


async def test_it_is_private_and_empty_and_gone_afterwards(tmp_path: Path) -> None:
    root = tmp_path / "new" / "jobs"
    async with open_job_directory(root, "s1") as directory:
        assert directory.parent == root
        assert directory.name.startswith("s1-")
        assert stat.S_IMODE(directory.stat().st_mode) == stat.S_IMODE(root.stat().st_mode) == 0o700
        assert list(directory.iterdir()) == []
        (directory / "deep").mkdir()
        (directory / "deep" / "picture.png").write_bytes(b"x" * 10)
    assert os.listdir(root) == []


async def test_two_jobs_of_one_session_do_not_share(tmp_path: Path) -> None:
    async with open_job_directory(tmp_path, "s1") as first, open_job_directory(tmp_path, "s1") as second:
        assert first != second


async def test_it_goes_when_the_job_fails(tmp_path: Path) -> None:
    async def fail() -> None:
        async with open_job_directory(tmp_path, "s1") as directory:
            (directory / "half").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert os.listdir(tmp_path) == []


async def test_it_goes_when_the_job_is_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_job_directory(tmp_path, "s1") as directory:
            (directory / "half").write_bytes(b"x")
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == []


async def test_a_job_cancelled_before_it_began_leaves_nothing(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_job_directory(tmp_path, "s1"):
            pytest.fail("entered")
    assert os.listdir(tmp_path) == []


async def test_a_root_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        async with open_job_directory(tmp_path / "file" / "jobs", "s1"):
            pytest.fail("entered")
