"""The gallery over real sockets, on a real store."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from json import loads
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from actors.artifacts import ArtifactStore
from actors.cards import read_card
from actors.store.store import Store
from gateway.access.capability import Signer
from gateway.access.entrance import open_entrance
from gateway.app import create_app
from gateway.config import Config
from gateway.rest.gallery import GalleryRoutes
from protocol import mail
from protocol.card import from_card
from protocol.persona import Persona
from tests.actors.store.stores import hatched, opened, say
from tests.helpers.fakes import ENGINES, PAINTER, PERSONA, WRITER, png, record_of
from tests.helpers.problems import check_problem
from tests.helpers.serving import serving

LIFETIME_S = 100.0


class Site:
    """A gallery, the clock of its signer, and who asks for things."""

    def __init__(self, store: Store, artifacts: ArtifactStore, directory: Path) -> None:
        self.store = store
        self.now_s = 1000.0
        self.http: httpx2.AsyncClient
        self._artifacts = artifacts
        self._directory = directory

    async def hatch(self, session: str, *, name: str = "Ada", owner: str = "ann", colour: str = "teal") -> Persona:
        """An agent of that name, whose picture has one colour."""
        source = self._directory / f"{session}.png"
        source.write_bytes(png(colour=colour))
        stored = await self._artifacts.adopt_png(source, width=None, height=None)
        picture = mail.PictureStored(
            sha256=stored.sha256,
            bytes=stored.bytes,
            mime=stored.mime,
            width=stored.width,
            height=stored.height,
            painter=PAINTER,
            seed=7,
            steps=4,
        )
        persona = msgspec.structs.replace(PERSONA, name=name)
        await self.store.log.create(record_of(session, owner=owner))
        await say(self.store.log, session, hatched(session, picture=picture, persona=persona))
        return persona

    async def get(self, url: str, *, user: str = "ann") -> httpx2.Response:
        """What a client that can send headers gets."""
        return await self.http.get(url, headers={"X-User": user})

    async def items(self, query: str = "", *, user: str = "ann") -> list[dict[str, Any]]:
        """The items of one listing."""
        response = await self.get(f"/v1/agents{query}", user=user)
        assert response.status_code == 200, response.text
        items: list[dict[str, Any]] = response.json()["items"]
        return items


@asynccontextmanager
async def site(data: Path) -> AsyncIterator[Site]:
    artifacts = ArtifactStore(data / "artifacts")
    async with opened(data) as store:
        here = Site(store, artifacts, data)
        gallery = GalleryRoutes(
            store.agents,
            artifacts,
            Signer(b"k" * 32, LIFETIME_S, lambda: here.now_s),
            owner_of=lambda request: request.headers.get("x-user", "nobody"),
            version="1.2.3",
        )
        async with serving(
            partial(create_app, gallery.routes(), entrance=open_entrance(Config(), b"secret"))
        ) as here.http:
            yield here


async def test_agents_are_listed_newest_first_in_pages(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for number in range(5):
            await here.hatch(f"s{number}")
        pages = []
        url = "/v1/agents?limit=2"
        while url:
            page = (await here.get(url)).json()
            pages.append([item["agent"] for item in page["items"]])
            url = f"/v1/agents?limit=2&before={page['before']}" if "before" in page else ""
    assert pages == [["s4", "s3"], ["s2", "s1"], ["s0"]]


async def test_agents_are_found_by_their_words(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.hatch("s1", name="Ada")
        await here.hatch("s2", name="Søren")
        assert [item["agent"] for item in await here.items("?q=ad")] == ["s1"]
        assert [item["agent"] for item in await here.items("?q=S%C3%B8ren%20owl")] == ["s2"]
        assert await here.items('?q="AND(*%00') == []


async def test_an_agent_tells_how_it_came_about(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        persona = await here.hatch("s1")
        (item,) = await here.items()
        assert (await here.get("/v1/agents/s1")).json() | {
            "card_png_url": "",
            "card_json_url": "",
            "avatar_url": "",
        } == {
            "agent": "s1",
            "persona": msgspec.to_builtins(persona),
            "prompt": "an owl",
            "seed": 7,
            "steps": 4,
            "engines": msgspec.to_builtins(ENGINES),
            "writer": {"engine": "scripted", "model": "owl-7b"},
            "painter": {"engine": "scripted", "model": "schnell", "version": "0.24.1"},
            "created_at_ms": item["created_at_ms"],
            "avatar_url": "",
            "card_png_url": "",
            "card_json_url": "",
        }


async def test_a_card_brings_the_agent_back(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        persona = await here.hatch("s1", colour="teal")
        avatar = await here.get("/v1/agents/s1/avatar.png")
        card = await here.get("/v1/agents/s1/card.png")
        json = await here.get("/v1/agents/s1/card.json")
    assert avatar.content == png(colour="teal")
    assert (avatar.headers["content-type"], card.headers["content-type"]) == ("image/png", "image/png")
    assert json.headers["content-type"] == "application/json"
    picture = Image.open(io.BytesIO(card.content))
    assert picture.tobytes() == Image.open(io.BytesIO(avatar.content)).tobytes()
    assert read_card(card.content) == json.content
    read, making = from_card(json.content)
    assert read == persona
    assert making is not None
    assert (making.prompt, making.engines, making.version) == ("an owl", ENGINES, "1.2.3")
    assert (making.seed, making.steps, making.writer, making.painter) == (7, 4, WRITER, PAINTER)
    assert isinstance(picture, PngImageFile)
    assert loads(picture.text["hatchery"]) == {
        "model": "schnell",
        "seed": 7,
        "steps": 4,
        "engine": "scripted",
        "version": "0.24.1",
    }


async def test_files_are_readable_without_headers_by_signed_urls_until_they_expire(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.hatch("s1", owner="ann&co/50%")
        (item,) = await here.items(user="ann&co/50%")
        for name in ("card_png_url", "card_json_url"):
            assert (await here.http.get(item[name])).status_code == 200
            check_problem(await here.http.get(item[name].replace("s1", "s2")), 403, "forbidden")
            check_problem(await here.http.get(item[name].replace("owner=ann", "owner=bob")), 403, "forbidden")
            check_problem(await here.http.get(item[name].partition("&expires")[0]), 404, "not_found")
        crossed = item["card_json_url"].replace("card.json", "avatar.png")
        check_problem(await here.http.get(crossed), 403, "forbidden")
        here.now_s += LIFETIME_S + 1
        check_problem(await here.http.get(item["card_png_url"]), 410, "gone")


async def test_an_agent_is_its_owners_alone(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.hatch("s1")
        assert await here.items(user="bob") == []
        for path in ("", "/avatar.png", "/card.png", "/card.json"):
            check_problem(await here.get(f"/v1/agents/s1{path}", user="bob"), 404, "not_found")
        check_problem(await here.http.delete("/v1/agents/s1", headers={"X-User": "bob"}), 404, "not_found")
        assert len(await here.items()) == 1


async def test_a_deleted_agent_is_gone_with_its_links(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.hatch("s1")
        (item,) = await here.items()
        deleted = await here.http.delete("/v1/agents/s1", headers={"X-User": "ann"})
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert await here.items() == []
        check_problem(await here.http.get(item["card_png_url"]), 404, "not_found")
        check_problem(await here.http.delete("/v1/agents/s1", headers={"X-User": "ann"}), 404, "not_found")
        assert (await here.store.log.view("s1")).state == "done"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("before=x", "before"),
        ("q=" + "x" * 1001, "q"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(tmp_path: Path, query: str, field: str) -> None:
    async with site(tmp_path) as here:
        assert check_problem(await here.get(f"/v1/agents?{query}"), 422, "invalid")["field"] == field
