"""A gateway behind the reverse proxies that the README configures: real nginx, real Caddy, TLS, another address."""

import io
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import pytest
import trio
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection, connect

from gateway.access.auth import new_token
from gateway.config import HatchConfig, ServerConfig
from gateway.serve import Gateway
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.problems import check_problem
from tests.helpers.reverse_proxies import NAME, Proxy, free_port, running_proxy, snippet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers to all of 127.0.0.0/8")

ADA, LINE = new_token("ada")
BEARER: Final = {"Authorization": f"Bearer {ADA}"}
PNG: Final = {"Content-Type": "image/png"}
VISITOR, OTHER = "127.0.0.2", "127.0.0.3"  # who is no proxy


class Front:
    """A proxy with a gateway behind it."""

    def __init__(self, proxy: Proxy, gateway: Gateway) -> None:
        self.gateway = gateway
        self.proxy = proxy
        self.authority = f"{NAME}:{proxy.port}"
        self.origin = f"https://{self.authority}"

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx2.AsyncClient]:
        """A client that has looked the name up."""
        to_name = httpx2.AsyncHTTPTransport(verify=self.proxy.trust, local_address=VISITOR)
        async with httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.proxy.port}",
            transport=to_name,
            headers={"Host": self.authority, **BEARER},
        ) as http:

            async def say_name(request: httpx2.Request) -> None:
                request.extensions["sni_hostname"] = NAME

            http.event_hooks = {"request": [say_name]}
            yield http

    @asynccontextmanager
    async def socket(self, source: str = VISITOR, **headers: str) -> AsyncIterator[ClientConnection]:
        """The WebSocket of a page that the gateway has served."""
        async with connect(
            f"wss://{self.authority}/v1/ws",
            host="127.0.0.1",
            local_address=source,
            ssl=self.proxy.trust,
            additional_headers={"Origin": self.origin, **headers},
            compression=None,
            proxy=None,
        ) as socket:
            yield socket


@asynccontextmanager
async def front(kind: str, folder: Path, **settings: Any) -> AsyncIterator[Front]:
    port = free_port()
    public: dict[str, Any] = {
        "server__public_urls": [f"https://{NAME}:{port}"],
        "server__trusted_proxies": ["127.0.0.1"],
        "access__tokens": [LINE],
        "sim__tokens_per_s": 400,
        "sim__step_s": 0.3,
    }
    with trio.fail_after(60):
        async with running_gateway(folder / "data", **public, **settings) as gateway:
            upstream = gateway.url.removeprefix("http://")
            async with running_proxy(kind, upstream, port, folder / kind) as proxy:
                yield Front(proxy, gateway)


async def said(socket: ClientConnection, type_: str) -> dict[str, Any]:
    """The next message of a type."""
    while True:
        for message in msgspec.json.decode(await socket.recv()):
            if message["type"] == type_:
                found: dict[str, Any] = message
                return found


async def greet(socket: ClientConnection) -> None:
    await socket.send(msgspec.json.encode({"type": "hello", "id": 1, "token": ADA}).decode())


@pytest.fixture(params=["nginx", "caddy"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which proxy."""
    return str(request.param)


async def test_a_page_hatches_through_it(kind: str, tmp_path: Path) -> None:
    async with front(kind, tmp_path) as here, here.http() as http, here.socket() as socket:
        await greet(socket)
        await said(socket, "welcome")
        hatch = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA), "image": {"steps": 1}}
        await socket.send(msgspec.json.encode({"type": "start", "id": 2, "hatch": hatch}).decode())
        picture = await said(socket, "artifact")
        assert Image.open(io.BytesIO((await http.get(picture["url"])).content)).format == "PNG"
        cookie = (await http.post("/v1/login", json={}, headers={"Origin": here.origin})).headers["set-cookie"]
        assert "secure" in cookie.lower()
        elsewhere = await http.post("/v1/login", json={}, headers={"Origin": f"http://{here.authority}"})
        check_problem(elsewhere, 403, "forbidden")
        noise = io.BytesIO()
        Image.frombytes("RGB", (1000, 1000), os.urandom(3_000_000)).save(noise, "PNG")
        assert (await http.post("/v1/uploads", content=noise.getvalue(), headers=PNG)).status_code == 201


async def test_events_come_when_they_happen(kind: str, tmp_path: Path) -> None:
    async with front(kind, tmp_path) as here, here.http() as http:
        began = await http.post("/v1/hatches", json={"prompt": "an owl", "image": {"steps": 100}})
        where = began.headers["location"]
        async with http.stream("GET", f"{where}/events") as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if '"stage":"steps"' in line:
                    break
            assert (await http.delete(where)).status_code == 202  # it had not ended: this was not held back until then
            assert [line async for line in lines if '"type":"end"' in line]


async def test_an_address_is_what_the_proxy_says_and_not_what_its_client_says(kind: str, tmp_path: Path) -> None:
    async with front(kind, tmp_path, access__connections_per_address=1) as here, here.socket() as first:
        await greet(first)
        await said(first, "welcome")
        async with here.socket(**{"X-Forwarded-For": "192.0.2.7"}) as second:
            await greet(second)
            assert (await said(second, "error"))["code"] == "quota_exceeded"
            with pytest.raises(ConnectionClosed):
                await second.recv()
        async with here.socket(OTHER) as third:
            await greet(third)
            await said(third, "welcome")


async def test_nginx_lets_the_gateway_say_that_a_picture_is_too_large(tmp_path: Path) -> None:
    async with front("nginx", tmp_path) as here, here.http() as http:
        too_much = b"\0" * (HatchConfig().upload_bytes + 1)
        check_problem(await http.post("/v1/uploads", content=too_much, headers=PNG), 413, "too_large")


def test_nginx_is_more_patient_than_the_heartbeat() -> None:
    text = snippet("nginx")
    for direction in ("read", "send"):
        seconds = float(text.partition(f"proxy_{direction}_timeout ")[2].partition("s;")[0])
        assert seconds > 2 * ServerConfig().heartbeat_s
