"""The JavaScript client, by its own tests: on sockets answered by hand, and on a real gateway that comes and goes."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.auth import new_token
from tests.helpers.crashes import Site, stop
from tests.helpers.gateways import running_gateway
from tests.helpers.node import run_node
from tests.helpers.proxy import open_proxy
from tests.helpers.serving import serving

HERE: Final = Path(__file__).parent
PACE: Final = {
    "HATCHERY_SIM_TOKENS_PER_S": "600",
    "HATCHERY_SIM_STEP_S": "0.02",
    "HATCHERY_SERVER_DRAIN_S": "0",
    "HATCHERY_WIRE_TICK_MS": "5",
}


async def test_its_conversation() -> None:
    await run_node("--test", HERE / "client.test.mjs")


async def test_on_a_gateway_that_comes_and_goes(tmp_path: Path) -> None:
    token, line = new_token("ada")
    async with (
        restless_gateway(tmp_path) as environ,
        running_gateway(tmp_path / "locked", access__tokens=[line], sim__tokens_per_s=4000, sim__step_s=0.01) as locked,
    ):
        environ |= {"LOCKED": locked.url, "TOKEN": token}
        await run_node("--test", HERE / "gateway.test.mjs", environ=environ)


@asynccontextmanager
async def restless_gateway(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A gateway behind a proxy, and where a test asks for both to be disturbed, as environment variables."""
    async with open_proxy("") as proxy, trio.open_nursery() as nursery:
        environ = PACE | {"HATCHERY_SERVER_PUBLIC_URLS": proxy.url}
        site = Site(tmp_path, environ, "--llm", "sim", "--image", "sim")
        child = await nursery.start(site.run)
        proxy.target = site.url

        async def cut(_: Request) -> Response:
            proxy.cut()
            return Response()

        async def again(request: Request) -> Response:
            nonlocal child
            await stop(child, signal.SIGKILL if request.url.path == "/kill" else signal.SIGTERM)
            child = await nursery.start(site.run)
            proxy.target = site.url
            return Response()

        routes = [Route("/cut", cut, methods=["POST"])]
        routes += [Route(path, again, methods=["POST"]) for path in ("/kill", "/stop")]
        async with serving(lambda _: Starlette(routes=routes)) as control:
            yield {"GATEWAY": proxy.url, "CONTROL": str(control.base_url)}
        await stop(child, signal.SIGKILL)
