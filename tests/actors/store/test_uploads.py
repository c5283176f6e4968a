from pathlib import Path

import pytest

from actors.store.uploads import Upload
from protocol.errors import Internal, NotFound
from tests.actors.store.stores import opened
from tests.helpers.fakes import STORED


async def test_an_upload_is_its_owners(tmp_path: Path) -> None:
    async with opened(tmp_path, now_s=lambda: 5.0) as store:
        await store.uploads.add("ann", "u1", STORED)
    async with opened(tmp_path) as store:
        upload = Upload(upload="u1", owner="ann", picture=STORED, created_at_ms=5000)
        assert await store.uploads.get("ann", "u1") == upload
        for owner, name in (("bob", "u1"), ("ann", "u2")):
            with pytest.raises(NotFound):
                await store.uploads.get(owner, name)


async def test_the_same_picture_may_be_sent_twice_but_an_id_is_one_upload(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.uploads.add("ann", "u1", STORED)
        await store.uploads.add("bob", "u2", STORED)
        with pytest.raises(Internal):
            await store.uploads.add("eve", "u1", STORED)
        assert (await store.uploads.get("ann", "u1")).owner == "ann"
