"""Input pictures from outside: bounded, decoded to the last row, and kept as a fresh PNG with nothing else in it."""

import io
import secrets
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec
import trio
from PIL import Image, ImageOps, UnidentifiedImageError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from actors.artifacts import ArtifactStore, StoredPicture
from actors.store.uploads import Uploads
from gateway.access.quota import Shares
from gateway.rest.answers import Uploaded
from protocol.errors import BadMessage, Invalid, Overloaded, TooLarge

UPLOADS_PATH: Final = "/v1/uploads"
FORMATS: Final = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


class UploadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest upload, in bytes as sent and in pixels; how many may be under way, and be decoded, at a time."""

    bytes: int = 16 * 1024 * 1024
    pixels: int = 32_000_000
    under_way: int = 16
    decoded: int = 2


class UploadRoutes:
    """The endpoint over one store's uploads; `owner_of` tells who asks, and may raise, `shares` how much is theirs."""

    def __init__(
        self,
        uploads: Uploads,
        artifacts: ArtifactStore,
        limits: UploadLimits,
        *,
        owner_of: Callable[[Request], str],
        shares: Shares,
    ) -> None:
        self._uploads = uploads
        self._artifacts = artifacts
        self._limits = limits
        self._owner_of = owner_of
        self._shares = shares
        self._places = trio.CapacityLimiter(limits.under_way)
        self._decoders = trio.CapacityLimiter(limits.decoded)

    def routes(self) -> list[Route]:
        """The endpoint, for a Starlette application."""
        return [Route(UPLOADS_PATH, self.upload, methods=["POST"])]

    async def upload(self, request: Request) -> Response:
        """201 with the id that `image.input` of a hatch takes; the body is the picture itself."""
        owner = self._owner_of(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in FORMATS:
            raise BadMessage(f"the body is a picture: send Content-Type: {', '.join(FORMATS)}", field="content-type")
        room = self._shares.of(owner).room
        await self._uploads.check(owner, room)  # before a body is read and decoded in vain
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            raise Overloaded("too many uploads at a time: try again in a moment", retry_after_ms=1000) from None
        try:
            picture = await self._take(await read_body(request, self._limits.bytes), FORMATS[kind])
        finally:
            self._places.release()
        upload = secrets.token_hex(10)
        await self._uploads.add(owner, upload, picture, room)
        answer = Uploaded(id=upload, width=picture.width, height=picture.height, sha256=picture.sha256)
        return Response(msgspec.json.encode(answer), 201, media_type="application/json")

    async def _take(self, data: bytes, format_: str) -> StoredPicture:
        return await trio.to_thread.run_sync(
            lambda: self._artifacts.store_png(clean_png(data, format_, max_pixels=self._limits.pixels)),
            limiter=self._decoders,
        )


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it has more than `limit` bytes, and BadMessage when it ends early."""
    body = bytearray()
    try:
        async with aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > limit:
                    raise TooLarge(f"the body may have {limit} bytes")
    except ClientDisconnect:
        raise BadMessage("the body did not come to its end") from None
    return bytes(body)


def clean_png(data: bytes, format_: str, *, max_pixels: int) -> bytes:
    """The same picture, upright, as a PNG of 8 bits a channel that holds nothing but pixels; of an animation the first.

    Raises Invalid for what is no whole picture of that format, and TooLarge, before anything is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=(format_,)) as picture:
            if picture.width * picture.height > max_pixels:
                raise TooLarge(f"{picture.width}x{picture.height} is more than {max_pixels} pixels")
            picture.load()  # decodes every row: a file cut short fails here
            upright = ImageOps.exif_transpose(picture)
            pixels = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"the picture has more than {max_pixels} pixels") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise Invalid(f"this is no whole {format_} picture") from error
    pixels.info.clear()  # colour profile, comments and times, which the encoder would write again
    png = io.BytesIO()
    pixels.save(png, "PNG")
    return png.getvalue()
