"""A gateway whose mflux takes its time to say what it honours: nobody waits but the hatch that has to know."""

from pathlib import Path

import trio

from protocol.commands import HatchRequest, ImageOptions, Ping
from protocol.events import Artifact, Pong
from tests.helpers.fakes import png
from tests.helpers.gateways import PERSONA, listening_client, running_gateway
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of

PAINT = """
import sys
open(sys.argv[sys.argv.index("--output") + 1], "wb").write(bytes.fromhex("{png}"))
"""


def asking(**options: float) -> HatchRequest:
    return HatchRequest(prompt="an owl", persona=PERSONA, image=ImageOptions(seed=7, **options))  # type: ignore[arg-type]


async def test_only_the_hatch_that_asks_waits_for_mflux(tmp_path: Path) -> None:
    mflux = MfluxEnvironment(tmp_path / "mflux", dump_of("mflux-paint", ["--steps"]))
    mflux.command("mflux-paint", PAINT.format(png=png().hex()))
    mflux.hold()
    with trio.fail_after(30):
        async with (
            running_gateway(tmp_path, image__engine=mflux.path("mflux-paint")) as gateway,
            listening_client(gateway) as client,
        ):
            waiting = await client.start(asking(guidance=2.0), id=1)
            await client.send(Ping(id=2))
            await client.until(Pong, lambda pong: pong.id == 2)
            beside = await client.start(asking(), id=3)
            assert (await client.end(beside.session)).outcome == "done"
            assert client.all(Artifact, beside.session)
            mflux.release()
            end = await client.end(waiting.session)
            assert end.error is not None
            assert end.error.code == "invalid"
            assert "does not honour `guidance`" in end.error.message
            await client.send(Ping(id=4))
    assert mflux.times_asked == 1
