"""Looking after what is kept: `hatchery data`, and the rounds in which a gateway that serves forgets what is old."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import structlog
import trio

from actors.store.files import back_up, check_store
from actors.store.schema import UnusableStore
from actors.store.store import ARTIFACTS, DATABASE, Retention, Store, StoreSettings, open_store
from actors.sweep import DataInUse, open_data_lock
from gateway.config import Config, ConfigError
from gateway.live.ticker import Ticker
from protocol.errors import HatcheryError
from protocol.journal import Entry
from protocol.view import SessionView

log = structlog.get_logger(__name__)


def retention(config: Config) -> Retention:
    """How much the settings keep."""
    hatch = config.hatch
    return Retention(sessions=hatch.retained, session_days=hatch.session_days, upload_days=hatch.upload_days)


async def keep_up(store: Store, kept: Retention, ticker: Ticker, every_s: float) -> None:
    """Forget what is old, now and every so many seconds, until cancelled; a round that fails is logged and made up."""
    while True:
        due = trio.Event()
        ticker.at(trio.current_time() + every_s, due.set)
        try:
            pruned = await store.prune(kept)
        except (HatcheryError, OSError, apsw.Error) as error:
            log.warning("upkeep_failed", error=str(error))
        else:
            if pruned.sessions or pruned.uploads or pruned.files:
                log.info("upkeep", sessions=pruned.sessions, uploads=pruned.uploads, files=pruned.files)
        await due.wait()


async def run_check(config: Config) -> int:
    """`hatchery data check`: read every page and every file, also of a gateway that runs; 1 if anything is wrong."""
    findings = await trio.to_thread.run_sync(check_store, _database(config), config.data / ARTIFACTS)
    for finding in findings:
        print(f"{finding.what}: {finding.problem}")
    if not findings:
        print(f"{config.data}: no problem")
    return int(bool(findings))


async def run_backup(config: Config, target: Path) -> int:
    """`hatchery data backup`: copy the store, also of a gateway that runs, to a directory that can serve as one.

    Raises ConfigError, and OSError when the target cannot be written.
    """
    database = _database(config)
    if _same(target, config.data):
        raise ConfigError(f"{target} is the data directory itself: choose another folder for its copy")
    try:
        await trio.to_thread.run_sync(back_up, database, config.data / ARTIFACTS, target)
    except apsw.Error as error:
        print(f"hatchery: {database}: {error}", file=sys.stderr)
        return 1
    print(f"copied to {target}: serve it with --data, or copy it again to bring it up to date")
    return 0


async def run_prune(config: Config, retention: Retention) -> int:
    """`hatchery data prune`: forget what is old; agents stay. Raises ConfigError, also while a gateway runs there."""
    _database(config)
    settings = StoreSettings(url_s=config.hatch.artifact_url_s)
    try:
        async with (
            open_data_lock(config.data),
            open_store(config.data, _publish, settings=settings, now_s=time.time) as store,
        ):
            pruned = await store.prune(retention)
    except (DataInUse, UnusableStore) as error:
        raise ConfigError(f"server.data: {error}") from error
    print(f"forgot {pruned.sessions} sessions, {pruned.uploads} uploads and {pruned.files} files")
    return 0


def _database(config: Config) -> Path:
    """The database of the data directory. Raises ConfigError when there is none: looking would make one."""
    path = config.data / DATABASE
    if not path.is_file():
        raise ConfigError(f"server.data: no gateway has kept anything in {config.data}")
    return path


def _same(target: Path, data: Path) -> bool:
    return target.exists() and target.samefile(data)


def _publish(_view: SessionView, _entries: Sequence[Entry]) -> None:
    """Nobody listens while old sessions are forgotten."""
