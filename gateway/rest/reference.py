"""The generated reference over HTTP: AsyncAPI, OpenAPI, TypeScript; made when first asked for.

Tools fetch it before they have a token, and it says of every gateway of this version the same: it is open to all.
"""

import functools
from collections.abc import Callable
from typing import Final

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.reference.asyncapi import asyncapi
from gateway.reference.openapi import openapi
from gateway.reference.typescript import typescript

_DOCUMENTS: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "/v1/asyncapi.json": ("application/json", lambda: msgspec.json.encode(asyncapi())),
    "/v1/openapi.json": ("application/json", lambda: msgspec.json.encode(openapi())),
    "/v1/hatchery.d.ts": ("application/typescript", lambda: typescript().encode()),
}
REFERENCE: Final = frozenset(_DOCUMENTS)


def reference_routes() -> list[Route]:
    """All of them, for a Starlette application."""
    return [Route(path, _show, methods=["GET"]) for path in _DOCUMENTS]


async def _show(request: Request) -> Response:
    media_type, document = await trio.to_thread.run_sync(_made, request.url.path)
    return Response(document, media_type=media_type)


@functools.cache
def _made(path: str) -> tuple[str, bytes]:
    media_type, make = _DOCUMENTS[path]
    return media_type, make()
