"""A gateway that two people have tokens for, and the ways in which they come to it."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from websockets.trio.client import connect

from gateway.access.auth import new_token
from gateway.serve import Gateway
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import Wire, open_wire

ADA, ADA_LINE = new_token("ada")
BOB, BOB_LINE = new_token("bob")
FAST: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
SLOW: dict[str, Any] = {"sim__tokens_per_s": 1, "sim__step_s": 30}


def guarded(data: Path, **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    """A gateway that knows ada and bob, whose hatches never end by themselves."""
    return running_gateway(data, **{"access__tokens": [ADA_LINE, BOB_LINE], **SLOW, **settings})


def http_client(gateway: Gateway, token: str | None = None, **headers: str) -> httpx2.AsyncClient:
    """A client that shows this token, or none, with every request."""
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.AsyncClient(base_url=gateway.url, trust_env=False, headers=headers)


def offer(token: str) -> list[str]:
    """Subprotocols as a browser offers them that has a token."""
    return ["hatch.v1.json", "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")]


@asynccontextmanager
async def wire_of(gateway: Gateway, token: str = ADA, **hello: Any) -> AsyncIterator[Wire]:
    """A connection that is welcome."""
    async with open_wire(gateway.url, hello={"token": token, **hello}) as wire:
        assert wire.heard[0]["type"] == "welcome"
        yield wire


def handshake(gateway: Gateway, headers: dict[str, str]) -> Any:
    """A connection with these headers, before its `hello`."""
    address = gateway.url.replace("http", "ws") + "/v1/ws"
    return connect(address, additional_headers=headers, proxy=None, compression=None)


async def welcomed(gateway: Gateway, **headers: str) -> bool:
    """Whether these headers of the handshake are enough for a `hello` that names no token."""
    async with handshake(gateway, headers) as socket:
        await socket.send('{"type":"hello","id":1}')
        answer = msgspec.json.decode(await socket.recv())[0]
        return bool(answer["type"] == "welcome")
