"""A hatch that begins from an upload, through the store, admission and the demo renderer's child."""

from pathlib import Path

import pytest
import trio
from PIL import Image

from gateway.live.sessions import Beginning
from gateway.services import Services
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import Invalid
from tests.helpers.fakes import png
from tests.helpers.gateways import PERSONA, running_services


async def drawn(services: Services, image: ImageOptions) -> Image.Image:
    hatch = HatchRequest(prompt="an owl", persona=PERSONA, image=image)
    view = (await services.sessions.start("ada", Beginning(hatch=hatch))).view
    with trio.fail_after(30):
        await services.sessions.drain()
    services.sessions.draining = False
    assert view.end is not None
    assert view.end.outcome == "done", view.end.error
    (avatar,) = [artifact for artifact in view.artifacts if artifact.kind == "avatar"]
    with Image.open(services.artifacts.path(avatar.sha256)) as picture:
        return picture.convert("RGB")


async def test_an_upload_changes_the_picture_and_gives_it_its_shape(tmp_path: Path) -> None:
    async with running_services(tmp_path, hatch__durable=True, image__engine="demo") as services:
        assert services.store is not None
        await services.store.uploads.add("ada", "u1", services.artifacts.store_png(png()))
        alone = await drawn(services, ImageOptions(seed=7, steps=2, width=64, height=32))
        begun = await drawn(services, ImageOptions(seed=7, steps=2, input="u1"))
        assert begun.size == alone.size == (64, 32)
        assert begun.tobytes() != alone.tobytes()


async def test_an_upload_of_somebody_else_or_none_is_refused_by_field(tmp_path: Path) -> None:
    async with running_services(tmp_path, hatch__durable=True, image__engine="demo") as services:
        assert services.store is not None
        await services.store.uploads.add("eve", "u1", services.artifacts.store_png(png()))
        lost = services.artifacts.store_png(png(16, 16))
        await services.store.uploads.add("ada", "lost", lost)
        services.artifacts.path(lost.sha256).unlink()
        for upload in ("u1", "u2", "lost"):
            hatch = HatchRequest(prompt="an owl", persona=PERSONA, image=ImageOptions(input=upload))
            with pytest.raises(Invalid, match="no such upload") as refused:
                await services.sessions.start("ada", Beginning(hatch=hatch))
            assert refused.value.field == "hatch.image.input"
        assert services.sessions.running == 0
