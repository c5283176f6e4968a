import os
import time
from pathlib import Path

import msgspec
import pytest
import trio

from actors.artifacts import ArtifactStore, StoredPicture
from actors.eventlog import Created
from actors.store.files import Finding, check_store, files_before, remove
from actors.store.store import ARTIFACTS, DATABASE, YOUNG_S, Retention, Store
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import Gone, NotFound
from protocol.events import State
from protocol.mail import PictureStored
from tests.actors.store.stores import QUICK, essence, hatch, opened
from tests.helpers.fakes import png, record_of

DAY_S = 86_400.0
NOTHING = Retention(sessions=0, session_days=0, upload_days=0)
EVERYTHING = Retention(sessions=1000, session_days=1000, upload_days=1000)


def picture_of(directory: Path, colour: str) -> StoredPicture:
    """A picture in the artifact store, old enough to be swept."""
    stored = ArtifactStore(directory / ARTIFACTS).store_png(png(colour=colour))
    long_ago = time.time() - YOUNG_S - 60
    os.utime(file_of(directory, stored), (long_ago, long_ago))
    return stored


def file_of(directory: Path, picture: StoredPicture) -> Path:
    return directory / ARTIFACTS / picture.sha256[:2] / picture.sha256


async def hatch_picture(store: Store, session: str, picture: StoredPicture) -> None:
    await hatch(store.log, session, picture=PictureStored(**msgspec.structs.asdict(picture)))


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def sweep(store: Store, clock: Clock, retention: Retention) -> int:
    """Prune, and prune again when what was in use until then is old; returns how many files went."""
    first = await store.prune(retention)
    clock.now += YOUNG_S + 60
    return first.files + (await store.prune(retention)).files


# --- check


async def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch_picture(store, "s1", picture_of(tmp_path, "red"))
        assert await store.check() == []


async def test_missing_and_damaged_files_are_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pictures = [picture_of(tmp_path, colour) for colour in ("red", "green", "blue")]
        for number, picture in enumerate(pictures):
            await hatch_picture(store, f"s{number}", picture)
        file_of(tmp_path, pictures[0]).unlink()
        content = bytearray(file_of(tmp_path, pictures[1]).read_bytes())
        content[-20] ^= 1
        file_of(tmp_path, pictures[1]).write_bytes(content)
        expected = [
            Finding(pictures[0].sha256, "its file is missing"),
            Finding(pictures[1].sha256, "its file is damaged"),
        ]
        assert sorted(await store.check(), key=lambda finding: finding.problem) == sorted(
            expected, key=lambda finding: finding.problem
        )


async def test_a_damaged_database_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(20):
            await hatch(store.log, f"s{number}")
    path = tmp_path / DATABASE
    content = bytearray(path.read_bytes())
    for page in range(8, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert any(finding.what == "database" for finding in check_store(path, tmp_path / ARTIFACTS))


# --- backup


async def test_a_backup_made_while_hatches_run_is_a_store_of_its_own(tmp_path: Path) -> None:
    source, target = tmp_path / "data", tmp_path / "backup"
    picture = picture_of(source, "red")
    async with opened(source) as store:
        await hatch_picture(store, "s0", picture)
        async with trio.open_nursery() as nursery:
            for number in range(1, 20):
                nursery.start_soon(hatch_picture, store, f"s{number}", picture)
            await store.backup(target)
        shown = await store.log.view("s0")
    assert sorted(path.name for path in target.iterdir()) == [ARTIFACTS, DATABASE]
    assert check_store(target / DATABASE, target / ARTIFACTS) == []
    async with opened(target) as store:
        assert essence(await store.log.view("s0")) == essence(shown)
        assert (await store.agents.get("ann", "s0")).avatar == picture.sha256
        for found in store.log.unfinished():  # each as it was at one moment
            seqs = [event.seq for event in await store.log.tail(found.record.session, 0)]
            assert seqs == list(range(1, found.seq + 1))


async def test_a_later_backup_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        for session in ("s1", "s2"):
            await hatch_picture(store, session, picture_of(tmp_path / "data", "red"))
            await store.backup(tmp_path / "backup")
    async with opened(tmp_path / "backup") as store:
        assert (await store.log.view("s2")).state == "done"


async def test_a_backup_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        await hatch_picture(store, "s1", picture_of(tmp_path / "data", "red"))
        await store.backup(tmp_path / "backup")
        before = (tmp_path / "backup" / DATABASE).read_bytes()
        blue = picture_of(tmp_path / "data", "blue")
        await hatch_picture(store, "s2", blue)
        (tmp_path / "backup" / ARTIFACTS / blue.sha256[:2]).write_bytes(b"in the way")
        with pytest.raises(OSError, match=blue.sha256[:2]):
            await store.backup(tmp_path / "backup")
        assert (tmp_path / "backup" / DATABASE).read_bytes() == before


# --- prune


async def test_old_sessions_are_forgotten_and_younger_and_running_ones_are_not(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    async with opened(tmp_path, now_s=lambda: now[0]) as store:
        await store.log.create(record_of("running"))
        await hatch(store.log, "old")
        now[0] += 2 * DAY_S
        await hatch(store.log, "young")
        pruned = await store.prune(Retention(sessions=1000, session_days=1, upload_days=1))
        assert pruned.sessions == 1
        with pytest.raises(Gone):
            await store.log.view("old")
        listing = await store.log.list("ann", states=None, limit=9, before=None)
        assert [item.session for item in listing.items] == ["young", "running"]
        await store.log.append("running", [State(session="running", seq=1, state="writing")])


async def test_the_latest_sessions_are_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(5):
            await hatch(store.log, f"s{number}")
        pruned = await store.prune(Retention(sessions=2, session_days=1000, upload_days=1))
        assert pruned.sessions == 3
        listing = await store.log.list("ann", states=None, limit=9, before=None)
        assert [item.session for item in listing.items] == ["s4", "s3"]


async def test_an_agent_and_its_picture_outlive_the_session(tmp_path: Path) -> None:
    picture, clock = picture_of(tmp_path, "red"), Clock()
    async with opened(tmp_path, now_s=clock) as store:
        await hatch_picture(store, "s1", picture)
        clock.now += DAY_S
        pruned = await store.prune(NOTHING)
        assert (pruned.sessions, pruned.files) == (1, 0)
        assert (await store.agents.get("ann", "s1")).avatar == picture.sha256
        assert file_of(tmp_path, picture).is_file()
        await store.agents.delete("ann", "s1")
        assert await sweep(store, clock, NOTHING) == 1
        assert not file_of(tmp_path, picture).exists()
        assert await store.check() == []


async def test_a_file_stays_while_anybody_refers_to_it(tmp_path: Path) -> None:
    picture, clock = picture_of(tmp_path, "red"), Clock()
    async with opened(tmp_path, now_s=clock) as store:
        await hatch_picture(store, "s1", picture)
        await hatch_picture(store, "s2", picture)
        for session in ("s1", "s2"):
            assert await sweep(store, clock, EVERYTHING) == 0
            await store.agents.delete("ann", session)
        assert await sweep(store, clock, EVERYTHING) == 0, "the sessions still show it"
        assert await sweep(store, clock, NOTHING) == 1


async def test_a_file_stays_while_somebody_may_hold_its_url(tmp_path: Path) -> None:
    picture, clock = picture_of(tmp_path, "red"), Clock()
    settings = msgspec.structs.replace(QUICK, url_s=2 * DAY_S)
    async with opened(tmp_path, settings=settings, now_s=clock) as store:
        await hatch_picture(store, "s1", picture)
        await store.agents.delete("ann", "s1")
        clock.now += 5 * DAY_S
        assert (await store.prune(NOTHING)).sessions == 1  # whoever was shown it just now has its URL
        clock.now += 2 * DAY_S - 60
        assert (await store.prune(NOTHING)).files == 0
        assert file_of(tmp_path, picture).is_file()
        clock.now += 120
        assert (await store.prune(NOTHING)).files == 1


async def test_a_young_file_that_nobody_has_announced_yet_stays(tmp_path: Path) -> None:
    about_to_be_shown = ArtifactStore(tmp_path / ARTIFACTS).store_png(png(colour="red"))
    unknown = picture_of(tmp_path, "blue")
    async with opened(tmp_path) as store:
        assert (await store.prune(NOTHING)).files == 1
    assert file_of(tmp_path, about_to_be_shown).is_file()
    assert not file_of(tmp_path, unknown).exists()


async def test_a_picture_that_is_drawn_again_is_young_again(tmp_path: Path) -> None:
    picture = picture_of(tmp_path, "red")
    assert ArtifactStore(tmp_path / ARTIFACTS).store_png(png(colour="red")) == picture
    async with opened(tmp_path) as store:
        assert (await store.prune(NOTHING)).files == 0


def test_a_file_that_is_adopted_while_it_is_swept_stays(tmp_path: Path) -> None:
    artifacts = tmp_path / ARTIFACTS
    pictures = [picture_of(tmp_path, colour) for colour in ("red", "blue")]
    young = time.time() - YOUNG_S
    found = files_before(artifacts, young)
    assert set(found) == {file_of(tmp_path, picture) for picture in pictures}
    ArtifactStore(artifacts).store_png(png(colour="red"))
    assert remove(found, young) == 1
    assert [file_of(tmp_path, picture).exists() for picture in pictures] == [True, False]


async def test_old_uploads_go_unless_a_running_hatch_needs_them(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, now_s=clock) as store:
        for upload, colour in (("old", "red"), ("needed", "green")):
            await store.uploads.add("ann", upload, picture_of(tmp_path, colour))
        hatch = HatchRequest(prompt="an owl", image=ImageOptions(input="needed"))
        begun = await store.log.create(msgspec.structs.replace(record_of(), hatch=hatch))
        assert isinstance(begun, Created)
        clock.now += 2 * DAY_S
        await store.uploads.add("ann", "young", picture_of(tmp_path, "blue"))
        pruned = await store.prune(Retention(sessions=9, session_days=9, upload_days=1))
        assert pruned.uploads == 1
        assert await sweep(store, clock, Retention(sessions=9, session_days=9, upload_days=1)) == 1
        with pytest.raises(NotFound):
            await store.uploads.get("ann", "old")
        for upload in ("needed", "young"):
            assert file_of(tmp_path, (await store.uploads.get("ann", upload)).picture).is_file()
