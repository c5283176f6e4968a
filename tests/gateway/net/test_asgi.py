"""A Starlette application on our own listener, asked by a real HTTP client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
import structlog
import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.net.http import serve_http
from gateway.net.problem import Problem
from gateway.net.response import HttpLimits
from tests.helpers.listening import listen

LIMITS = HttpLimits(body_bytes=1_000_000)
PICTURE = bytes(range(256)) * 4096


async def as_json(request: Request) -> Response:
    return JSONResponse(
        {"path": request.url.path, "q": request.query_params.get("q"), "body": (await request.body()).decode()}
    )


async def numbers(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        for number in range(1000):
            yield f"{number},"

    return StreamingResponse(body(), media_type="text/plain")


async def boom(request: Request) -> Response:
    raise ValueError("secret")


async def boom_in_mid_stream(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("secret")

    return StreamingResponse(body())


class Feed:
    """Server-Sent Events that say nothing after the first one."""

    def __init__(self) -> None:
        self.watchers = 0
        self.left = trio.Event()

    async def respond(self, request: Request) -> Response:
        return StreamingResponse(self.events(), media_type="text/event-stream")

    async def events(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        try:
            yield b"data: snapshot\n\n"
            await trio.sleep_forever()
        finally:
            self.watchers -= 1
            self.left.set()


@asynccontextmanager
async def asked(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            refusal = Problem(status=404, code="not_found", detail="No socket here.")
            handler = partial(serve_http, app=app, admit=lambda request: refusal, limits=LIMITS)
            host, port = await listen(nursery, handler)
            async with httpx2.AsyncClient(base_url=f"http://{host}:{port}") as client:
                yield client
            nursery.cancel_scope.cancel()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "avatar.png"
    path.write_bytes(PICTURE)
    return path


@pytest.fixture
def app(picture: Path) -> Starlette:
    async def avatar(request: Request) -> Response:
        return FileResponse(picture)

    return Starlette(
        routes=[
            Route("/json", as_json, methods=["GET", "POST"]),
            Route("/numbers", numbers),
            Route("/avatar.png", avatar),
            Route("/boom", boom),
            Route("/half", boom_in_mid_stream),
        ]
    )


async def test_json_both_ways(app: Starlette) -> None:
    async with asked(app) as client:
        answer = await client.post("/json?q=%C3%A4", content="größer")
    assert answer.json() == {"path": "/json", "q": "ä", "body": "größer"}
    assert answer.headers["content-type"] == "application/json"


async def test_a_chunked_upload_and_one_that_is_too_large(app: Starlette) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 10_000

    with structlog.testing.capture_logs() as logs:
        async with asked(app) as client:
            fits = await client.post("/json", content=chunks(100))
            too_large = await client.post("/json", content=chunks(101))
            again = await client.get("/json")
    assert fits.json()["body"] == "x" * 1_000_000
    assert (too_large.status_code, too_large.json()["code"]) == (413, "too_large")
    assert again.status_code == 200
    assert logs == []


async def test_a_stream(app: Starlette) -> None:
    async with asked(app) as client:
        answer = await client.get("/numbers")
    assert answer.text == "".join(f"{number}," for number in range(1000))
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_a_file_whole_in_part_and_by_its_head(app: Starlette) -> None:
    async with asked(app) as client:
        whole = await client.get("/avatar.png")
        part = await client.get("/avatar.png", headers={"Range": "bytes=100-199"})
        head = await client.head("/avatar.png")
        fresh = await client.get("/avatar.png")
    assert whole.content == fresh.content == PICTURE
    assert (part.status_code, part.content) == (206, PICTURE[100:200])
    assert (head.content, head.headers["content-length"]) == (b"", str(len(PICTURE)))


async def test_unknown_paths_and_methods(app: Starlette) -> None:
    async with asked(app) as client:
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.delete("/json")).status_code == 405


async def test_failures_leave_the_server_standing(app: Starlette) -> None:
    with structlog.testing.capture_logs() as logs:
        async with asked(app) as client:
            assert (await client.get("/boom")).status_code == 500
            with pytest.raises(httpx2.TransportError):
                await client.get("/half")
            assert (await client.get("/json")).status_code == 200
    assert [(entry["event"], entry["path"]) for entry in logs] == [
        ("application_failed", "/boom"),
        ("application_failed", "/half"),
    ]


async def test_a_silent_event_stream_ends_with_its_client() -> None:
    feed = Feed()
    with structlog.testing.capture_logs() as logs:
        async with asked(Starlette(routes=[Route("/events", feed.respond)])) as client:
            async with await trio.open_tcp_stream(client.base_url.host, client.base_url.port or 80) as stream:
                await stream.send_all(b"GET /events HTTP/1.1\r\nHost: gateway\r\n\r\n")
                answer = b""
                while not answer.endswith(b"data: snapshot\n\n\r\n"):
                    answer += await stream.receive_some()
                assert b"content-type: text/event-stream" in answer
                assert feed.watchers == 1
            await feed.left.wait()
            assert feed.watchers == 0
    assert logs == []


async def test_middleware_and_background_tasks(app: Starlette) -> None:
    ran = trio.Event()

    async def run() -> None:
        ran.set()

    async def with_task(request: Request) -> Response:
        return JSONResponse({"big": "x" * 5000}, background=BackgroundTask(run))

    compressed = Starlette(routes=[Route("/", with_task)], middleware=[Middleware(GZipMiddleware)])
    async with asked(compressed) as client:
        answer = await client.get("/")
        await ran.wait()
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == {"big": "x" * 5000}


async def test_many_requests_side_by_side(app: Starlette) -> None:
    async def ask(client: httpx2.AsyncClient, number: int) -> None:
        answer = await client.get("/json", params={"q": number})
        answers.add(answer.json()["q"])

    answers: set[str] = set()
    async with asked(app) as client, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(ask, client, number)
    assert answers == {str(number) for number in range(200)}
