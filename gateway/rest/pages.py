"""The page and its files, from the package: read once, served with a hash so that browsers ask but seldom fetch."""

import hashlib
from importlib import resources
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

PAGE: Final = "index.html"
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_ASK: Final = "no-cache"  # keep it, but ask whether it is still the same


class _File(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str
    etag: str


class PageRoutes:
    """The endpoints over the files of `gateway/web`, all of which fit into memory."""

    def __init__(self) -> None:
        folder = resources.files("gateway") / "web"
        self._files = {file.name: _read(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()}

    def routes(self) -> list[Route]:
        """All of them, for a Starlette application."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/client.js", self.client, methods=["GET"]),
            Route("/assets/{name}", self.asset, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, PAGE)

    async def client(self, request: Request) -> Response:
        """A short name for the JavaScript client, whose own imports then lead to its other modules."""
        return RedirectResponse("/assets/client.js")

    async def asset(self, request: Request) -> Response:
        """One of the page's files."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404, "There is no such file.")
        headers = {"ETag": file.etag, "Cache-Control": _ASK}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)


def _read(name: str, body: bytes) -> _File:
    ending = name[name.rindex(".") :]
    return _File(body, _TYPES[ending], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
