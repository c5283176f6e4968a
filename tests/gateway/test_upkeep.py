"""`hatchery data`: checks, copies and pruning of what a gateway has kept."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.artifacts import ArtifactStore
from actors.store.store import ARTIFACTS, DATABASE, Pruned, Retention, Store
from actors.sweep import open_data_lock
from gateway.config import Config, ConfigError
from gateway.layers import load_config
from gateway.live.ticker import Ticker
from gateway.upkeep import keep_up, run_backup, run_check, run_prune
from protocol import mail
from tests.actors.store.stores import hatch, opened
from tests.helpers.fakes import png
from tests.helpers.gateways import running_gateway

NOTHING = Retention(sessions=0, session_days=0, upload_days=0)
COLOURS = ("red", "green", "blue")


async def _kept(data: Path) -> Config:
    """The configuration of a directory in which three agents have hatched."""
    artifacts = ArtifactStore(data / ARTIFACTS)
    async with opened(data) as store:
        for number, colour in enumerate(COLOURS):
            stored = await trio.to_thread.run_sync(artifacts.store_png, png(colour=colour))
            picture = mail.PictureStored(
                sha256=stored.sha256, bytes=stored.bytes, mime=stored.mime, width=stored.width, height=stored.height
            )
            await hatch(store.log, f"s{number}", picture=picture)
    return _config(data)


def _config(data: Path) -> Config:
    return load_config(None, {}, {"server.data": str(data)})


def _files(data: Path) -> list[Path]:
    return sorted((data / ARTIFACTS).glob("??/*"))


async def test_a_whole_store_has_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = await _kept(tmp_path)
    assert await run_check(config) == 0
    assert "no problem" in capsys.readouterr().out


async def test_what_is_damaged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = await _kept(tmp_path)
    damaged, missing, _ = _files(tmp_path)
    damaged.write_bytes(b"x")
    missing.unlink()
    assert await run_check(config) == 1
    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == sorted([f"{damaged.name}: its file is damaged", f"{missing.name}: its file is missing"])


async def test_a_copy_can_be_served_and_brought_up_to_date(tmp_path: Path) -> None:
    config = await _kept(tmp_path / "data")
    copy = tmp_path / "copy"
    assert await run_backup(config, copy) == 0
    async with opened(tmp_path / "data") as store:
        await store.agents.delete("ann", "s0")
        assert await run_backup(config, copy) == 0  # while the store is in use
    assert await run_check(_config(copy)) == 0
    async with opened(copy) as store:
        gallery = await store.agents.list("ann", limit=10, before=None)
        assert [agent.agent for agent in gallery.items] == ["s2", "s1"]
    assert [file.name for file in _files(copy)] == [file.name for file in _files(tmp_path / "data")]


async def test_a_copy_never_goes_over_its_original(tmp_path: Path) -> None:
    config = await _kept(tmp_path)
    with pytest.raises(ConfigError, match="itself"):
        await run_backup(config, tmp_path / "." / ARTIFACTS / "..")
    assert await run_check(config) == 0


async def test_a_failed_copy_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await _kept(tmp_path / "data")
    (tmp_path / "data" / DATABASE).write_bytes(b"no database" * 1000)
    assert await run_backup(_config(tmp_path / "data"), tmp_path / "copy") == 1
    assert DATABASE in capsys.readouterr().err
    assert not (tmp_path / "copy" / DATABASE).exists()


async def test_what_is_old_is_forgotten_and_agents_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = await _kept(tmp_path)
    _orphan(tmp_path, "0")
    assert await run_prune(config, Retention(sessions=1, session_days=1000, upload_days=1)) == 0
    assert capsys.readouterr().out == "forgot 2 sessions, 0 uploads and 1 files\n"
    async with opened(tmp_path) as store:
        assert len((await store.agents.list("ann", limit=10, before=None)).items) == 3
    assert await run_check(config) == 0


async def test_nothing_is_forgotten_under_a_running_gateway(tmp_path: Path) -> None:
    config = await _kept(tmp_path)
    async with open_data_lock(tmp_path):
        with pytest.raises(ConfigError, match="in use"):
            await run_prune(config, NOTHING)


async def test_where_nothing_was_kept_nothing_is_made(tmp_path: Path) -> None:
    config = _config(tmp_path / "data")
    with pytest.raises(ConfigError, match="no gateway"):
        await run_check(config)
    with pytest.raises(ConfigError, match="no gateway"):
        await run_backup(config, tmp_path / "copy")
    with pytest.raises(ConfigError, match="no gateway"):
        await run_prune(config, NOTHING)
    assert os.listdir(tmp_path) == []


async def test_a_gateway_forgets_by_itself_at_its_start_and_then_by_and_by(tmp_path: Path) -> None:
    await _kept(tmp_path)
    pictures = _files(tmp_path)
    settings: dict[str, Any] = {"hatch__upkeep_s": 0.05, "hatch__artifact_url_s": 1.0}
    orphan = _orphan(tmp_path, "0")
    async with running_gateway(tmp_path, hatch__retained=1, **settings) as gateway:
        assert gateway.services.store is not None
        with trio.fail_after(20):
            await _gone(orphan)
            await _gone(_orphan(tmp_path, "1"))  # by a later round
        listing = await gateway.services.sessions.list("ann", states=None, limit=9, before=None)
        assert len(listing.items) == 1
        agents = await gateway.services.store.agents.list("ann", limit=10, before=None)
        assert len(agents.items) == 3
        assert [file.is_file() for file in pictures] == [True] * 3


async def test_a_round_that_fails_is_made_up_for(tmp_path: Path) -> None:
    rounds: list[Retention] = []
    third = trio.Event()

    class Sick(Store):
        """Whose disk fails once."""

        def __init__(self) -> None:
            pass

        async def prune(self, retention: Retention) -> Pruned:
            rounds.append(retention)
            if len(rounds) == 3:
                third.set()
            if len(rounds) == 1:
                raise OSError("no such disk")
            return Pruned(sessions=0, uploads=0, files=0)

    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        await nursery.start(ticker.run)
        nursery.start_soon(keep_up, Sick(), NOTHING, ticker, 0.01)
        with trio.fail_after(5):
            await third.wait()
        nursery.cancel_scope.cancel()


async def _gone(file: Path) -> None:
    while await trio.Path(file).exists():  # noqa: ASYNC110 - nobody tells of it
        await trio.sleep(0.01)


def _orphan(data: Path, digit: str) -> Path:
    """An old file that nobody refers to."""
    file = data / ARTIFACTS / (2 * digit) / (64 * digit)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    os.utime(file, (0, 0))
    return file
