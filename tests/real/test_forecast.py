"""Progress of whole hatches with the demo renderer: what is estimated, from when on, and previews."""

from pathlib import Path

import pytest
import trio

from protocol.commands import HatchRequest, ImageOptions, WatchOptions
from protocol.events import Preview, Progress
from tests.helpers.gateways import PERSONA, check_session, listening_client, running_gateway

pytestmark = pytest.mark.timeout(120)

LARGE = ImageOptions(steps=2, width=2048, height=2048, seed=7)  # its steps and its decode take seconds


async def test_the_first_hatch_is_measured_and_the_second_estimated_in_between(tmp_path: Path) -> None:
    hatch = HatchRequest(prompt="an owl", persona=PERSONA, image=LARGE)
    told: list[list[Progress]] = []
    async with running_gateway(tmp_path, image__engine="demo") as gateway:
        for number in range(2):
            async with listening_client(gateway) as listener:
                session = (await listener.start(hatch, id=number)).session
                end = await listener.end(session)
                assert end.outcome == "done"
                check_session(listener, session)
                told.append([progress for progress in listener.all(Progress) if progress.percent < 100])
    first, second = told
    assert "estimated" not in {progress.basis for progress in first}
    for progress in (*first, *second):
        if progress.basis == "measured" and progress.step is not None and progress.stage == "steps":
            assert progress.percent == round(38 + 57 * progress.step / 2, 1), "what the engine said, and nothing else"
    estimated = [progress for progress in second if progress.basis == "estimated"]
    assert estimated
    assert all(progress.eta_s is not None for progress in estimated)
    for progress in estimated:
        if progress.stage == "steps":
            step = progress.step or 0
            assert progress.percent < 38 + 57 * (step + 1) / 2, "not past the next measured point"


async def test_previews_arrive_when_they_are_switched_on(tmp_path: Path) -> None:
    hatch = HatchRequest(prompt="an owl", persona=PERSONA, image=ImageOptions(steps=8, width=512, height=512, seed=7))
    async with (
        running_gateway(tmp_path, image__engine="demo", image__previews=True, image__preview_side=64) as gateway,
        listening_client(gateway) as listener,
    ):
        session = (await listener.start(hatch, watch=WatchOptions(previews=True))).session
        with trio.fail_after(30):
            preview = await listener.until(Preview)
            end = await listener.end(session)
    assert end.outcome == "done"
    assert (preview.width, preview.height) == (64, 64)
    assert preview.data
