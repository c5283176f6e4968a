"""The room that is set aside: taken whole or not at all, and given back."""

import errno
import os
from pathlib import Path

import pytest

from actors.store.reserve import Reserve


def test_room_is_set_aside_once_and_given_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 10_000)
    reserve.make()
    (made,) = tmp_path.iterdir()
    assert made.stat().st_size == 10_000
    stamp = made.stat().st_mtime_ns
    reserve.make()
    assert made.stat().st_mtime_ns == stamp, "what is there is not written again"
    reserve.spend()
    reserve.spend()
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_room_none_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Reserve(tmp_path / "reserve", 10_000).make()
    assert list(tmp_path.iterdir()) == []
