"""Any application behind the gateway's own HTTP on a free loopback port, and a client for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.origin import OriginPolicy
from gateway.net.http import serve_http
from gateway.net.problem import Problem
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest
from tests.helpers.listening import listen


@asynccontextmanager
async def serving(make_app: Callable[[OriginPolicy], ASGIApp]) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve what is made for the port's policy; the client's `base_url` tells where."""
    apps: list[ASGIApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[0](scope, receive, send)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            _, port = await listen(nursery, partial(serve_http, app=app, admit=_refuse))
            apps.append(make_app(OriginPolicy(host="127.0.0.1", port=port, public_urls=[], allowed_origins=[])))
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
                yield http
            nursery.cancel_scope.cancel()


def _refuse(_request: UpgradeRequest) -> Admission | Problem:
    return Problem(status=404, code="not_found", detail="No socket here.")
