"""The page's files: what they are served as, what they weigh, and that nothing they ask for is missing."""

import re
from importlib import resources

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.rest.pages import PageRoutes

FILES = {file.name: file.read_bytes() for file in (resources.files("gateway") / "web").iterdir()}
MODULES = sorted(name for name in FILES if name.endswith(".js"))
MAX_BYTES = 150_000


async def _get(path: str, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(Starlette(routes=PageRoutes().routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://hatchery", headers=headers) as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/assets/main.js", "text/javascript"),
        ("/assets/base.css", "text/css"),
        ("/assets/favicon.svg", "image/svg+xml"),
    ],
)
async def test_files_are_served_as_what_they_are(path: str, media_type: str) -> None:
    got = await _get(path)
    assert got.status_code == 200
    assert got.headers["content-type"].startswith(media_type)
    assert got.content in FILES.values()


async def test_an_unchanged_file_is_not_sent_twice() -> None:
    first = await _get("/assets/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await _get("/assets/main.js", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await _get("/assets/main.js", **{"If-None-Match": '"something else"'})
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "../rest/pages.py", "..%2frest%2fpages.py", "__init__.py"])
async def test_nothing_else_is_served(name: str) -> None:
    assert (await _get(f"/assets/{name}")).status_code == 404


async def test_the_client_has_a_short_name() -> None:
    got = await _get("/client.js")
    assert (got.status_code, got.headers["location"]) == (307, "/assets/client.js")


def test_the_page_is_light() -> None:
    assert sum(map(len, FILES.values())) < MAX_BYTES


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_imports_is_there(module: str) -> None:
    code = re.sub(r"/\*.*?\*/|^ *//.*?$", "", FILES[module].decode(), flags=re.DOTALL | re.MULTILINE)  # no types
    assert set(re.findall(r'from "\./([^"]+)"', code)) <= FILES.keys()


def test_what_the_page_asks_for_is_there_and_nothing_is_inline() -> None:
    html = FILES["index.html"].decode()
    wanted = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert {url for url in wanted if url.startswith("/assets/")} == {url for url in wanted if url != "/"}
    assert {url.removeprefix("/assets/") for url in wanted if url != "/"} <= FILES.keys()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)


def test_every_element_that_a_module_looks_up_is_on_the_page() -> None:
    html = FILES["index.html"].decode()
    asked = {name for module in MODULES for name in re.findall(r'byId\("([\w-]+)"\)', FILES[module].decode())}
    assert asked <= set(re.findall(r'\bid="([\w-]+)"', html))
