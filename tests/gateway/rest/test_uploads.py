"""Uploads over real sockets: what is kept of a picture, and what is refused."""

import io
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from actors.artifacts import ArtifactStore
from actors.store.store import Store
from actors.store.usage import NO_BOUND, Room
from gateway.access.quota import Share, Shares
from gateway.net.problem import Problem
from gateway.rest.uploads import UploadLimits, UploadRoutes, clean_png
from protocol.errors import HatcheryError, NotFound
from tests.actors.store.stores import opened
from tests.helpers.fakes import STORED, png
from tests.helpers.problems import check_problem
from tests.helpers.serving import serving

LIMITS = UploadLimits(bytes=100_000, pixels=10_000, under_way=2)
SECRET = b"made in a private place"


class Site:
    """A store that takes uploads, and a client of it."""

    def __init__(self, store: Store, artifacts: ArtifactStore, http: httpx2.AsyncClient) -> None:
        self.store = store
        self.artifacts = artifacts
        self.http = http

    async def post(self, body: bytes, kind: str = "image/png") -> httpx2.Response:
        """Upload."""
        return await self.http.post("/v1/uploads", content=body, headers={"Content-Type": kind})

    async def kept(self, body: bytes, kind: str) -> tuple[bytes, Image.Image]:
        """The file that an upload has become: its bytes, and the picture in it."""
        answer = await self.post(body, kind)
        assert answer.status_code == 201, answer.text
        said = answer.json()
        upload = await self.store.uploads.get("ann", said["id"])
        stored = self.artifacts.path(said["sha256"]).read_bytes()
        assert (upload.picture.sha256, upload.picture.bytes) == (said["sha256"], len(stored))
        picture = Image.open(io.BytesIO(stored))
        assert (picture.format, picture.size) == ("PNG", (said["width"], said["height"]))
        return stored, picture


async def _coded(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HatcheryError)
    problem = Problem.of(error)
    return Response(problem.body(), problem.status, media_type="application/problem+json")


@asynccontextmanager
async def site(data: Path, limits: UploadLimits = LIMITS, room: Room = NO_BOUND) -> AsyncIterator[Site]:
    artifacts = ArtifactStore(data / "artifacts")
    async with opened(data) as store:
        shares = Shares(Share(messages_per_s=1, messages_burst=1, room=room))
        uploads = UploadRoutes(store.uploads, artifacts, limits, owner_of=lambda _request: "ann", shares=shares)
        app = Starlette(routes=uploads.routes(), exception_handlers={HatcheryError: _coded})
        async with serving(lambda _policy: app) as http:
            yield Site(store, artifacts, http)


def _encoded(format_: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 20)).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("image/png", _encoded("PNG")),
        ("image/png", _encoded("PNG", "P")),
        ("image/png", _encoded("PNG", "1")),
        ("IMAGE/PNG; q=1", _encoded("PNG", "RGBA")),
        ("image/jpeg", _encoded("JPEG")),
        ("image/jpeg", _encoded("JPEG", "CMYK")),
        ("image/webp", _encoded("WEBP", lossless=True)),
    ],
)
async def test_a_picture_is_kept_as_it_looks(tmp_path: Path, kind: str, body: bytes) -> None:
    async with site(tmp_path) as here:
        _, picture = await here.kept(body, kind)
    assert picture.convert("RGB").tobytes() == Image.open(io.BytesIO(body)).convert("RGB").tobytes()


async def test_transparency_stays(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("P", (8, 8), 0).save(buffer, "PNG", transparency=0)
    async with site(tmp_path) as here:
        _, picture = await here.kept(buffer.getvalue(), "image/png")
    assert picture.getpixel((0, 0)) == (0, 0, 0, 0)


async def test_nothing_but_pixels_is_kept_and_they_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010E] = SECRET.decode()
    text = PngInfo()
    text.add_text("Comment", SECRET.decode())
    async with site(tmp_path) as here:
        for kind, body in (
            ("image/jpeg", _encoded("JPEG", exif=exif, icc_profile=SECRET, comment=SECRET)),
            ("image/png", _encoded("PNG", exif=exif, icc_profile=SECRET, pnginfo=text)),
            ("image/webp", _encoded("WEBP", exif=exif, icc_profile=SECRET)),
        ):
            assert SECRET in body or zlib.compress(SECRET) in body
            stored, picture = await here.kept(body, kind)
            assert picture.size == (20, 40)
            assert not picture.info
            assert SECRET not in stored


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (png(), "application/json", 400, "bad_message"),
        (png(), "image/gif", 400, "bad_message"),
        (png(), "text/plain", 400, "bad_message"),
        (png(), "image/jpeg", 422, "invalid"),
        (b"", "image/png", 422, "invalid"),
        (b"GIF89a", "image/png", 422, "invalid"),
        (png()[:-40], "image/png", 422, "invalid"),
        (_encoded("JPEG")[:-40], "image/jpeg", 422, "invalid"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "image/png", 422, "invalid"),
        (png(200, 51), "image/png", 413, "too_large"),
        (b"x" * 100_001, "image/png", 413, "too_large"),
    ],
)
async def test_what_is_no_such_picture_is_refused(
    tmp_path: Path, body: bytes, kind: str, status: int, code: str
) -> None:
    async with site(tmp_path) as here:
        check_problem(await here.post(body, kind), status, code)
        assert not (tmp_path / "artifacts").exists()


async def test_a_bomb_is_refused_by_its_head(tmp_path: Path) -> None:
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    async with site(tmp_path) as here:
        check_problem(await here.post(bomb + b"\0\0\0\1IDAT"), 413, "too_large")


async def test_only_so_many_are_taken_at_a_time(tmp_path: Path) -> None:
    async with site(tmp_path, UploadLimits(under_way=1)) as here, trio.open_nursery() as nursery:
        begun = trio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield png()
            begun.set()
            await trio.sleep_forever()

        async def upload_slowly() -> None:
            await here.http.post("/v1/uploads", content=slow(), headers={"Content-Type": "image/png"})

        nursery.start_soon(upload_slowly)
        await begun.wait()
        with trio.fail_after(5):
            while (answer := await here.post(png())).status_code == 201:
                pass  # the slow one's head may still be under way
        check_problem(answer, 503, "overloaded")
        nursery.cancel_scope.cancel()
    async with site(tmp_path, UploadLimits(under_way=1)) as here:
        assert [(await here.post(png())).status_code for _ in range(3)] == [201] * 3


async def test_an_upload_is_its_owners_alone(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        id_ = (await here.post(png())).json()["id"]
        assert (await here.post(png())).json()["id"] != id_
        with pytest.raises(NotFound):
            await here.store.uploads.get("bob", id_)


async def test_an_owner_s_uploads_are_counted_and_so_is_what_they_weigh(tmp_path: Path) -> None:
    weight = len(clean_png(png(), "PNG", max_pixels=10_000))
    for room, taken, said in (
        (Room(uploads=2), 2, "2 uploads"),
        (Room(upload_bytes=weight + 1), 2, "uploads take"),
        (Room(bytes=1), 1, "delete agents"),
    ):
        async with site(tmp_path / said, room=room) as here:
            assert [(await here.post(png())).status_code for _ in range(taken)] == [201] * taken
            problem = check_problem(await here.post(png()), 429, "quota_exceeded")
            assert said in problem["detail"]
            await here.store.uploads.add("bob", "b", STORED, room)


async def test_uploads_that_come_at_once_have_no_more_room_than_those_that_come_in_turn(tmp_path: Path) -> None:
    codes = []
    async with site(tmp_path, UploadLimits(under_way=9), Room(uploads=3)) as here, trio.open_nursery() as nursery:

        async def upload() -> None:
            codes.append((await here.post(png())).status_code)

        for _ in range(9):
            nursery.start_soon(upload)
    assert sorted(codes) == [201] * 3 + [429] * 6
