"""The OpenAPI document: valid, of exactly the routes that there are, and true of what a gateway answers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.access.auth import new_token
from gateway.layers import load_config
from gateway.reference.openapi import openapi
from gateway.rest.endpoints import all_routes
from gateway.services import open_services
from protocol.commands import HatchRequest
from tests.helpers.fakes import png
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.problems import check_problem
from tests.helpers.samples import ALL
from tests.helpers.validation import Validator

DOCUMENT = openapi()
VALIDATOR = Validator(DOCUMENT)
FAST: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
OPERATIONS = {(method, path): said for path, item in DOCUMENT["paths"].items() for method, said in item.items()}


def test_it_is_valid() -> None:
    assert not list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())
    broken = DOCUMENT | {"paths": {"/x": {"get": {"responses": {"200": {}}}}}}
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


async def test_its_paths_are_the_gateways_routes(tmp_path: Path) -> None:
    flags = {"server.data": str(tmp_path), "server.port": 0, "llm.engine": "sim", "image.engine": "sim"}
    config = load_config(None, {}, flags)
    async with open_services(config) as services:
        routes = {
            (method.lower(), route.path)
            for route in all_routes(services, config)
            for method in (route.methods or set()) - {"HEAD"}
            if route.endpoint.__module__ != "gateway.rest.pages"  # for people, in a browser
        }
    assert routes == set(OPERATIONS)


def test_operations_are_told_apart() -> None:
    names = [said["operationId"] for said in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    for (_, path), said in OPERATIONS.items():
        in_path = {parameter["name"] for parameter in said.get("parameters", []) if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))


def test_the_hatch_of_a_start_is_the_body_of_its_post() -> None:
    (start,) = [message for message in ALL if hasattr(message, "hatch")]
    assert isinstance(start.hatch, HatchRequest)
    schema = OPERATIONS["post", "/v1/hatches"]["requestBody"]["content"]["application/json"]["schema"]
    VALIDATOR.check(msgspec.to_builtins(start.hatch), schema)
    assert VALIDATOR.refuses({"prompt": "x", "image": {"width": 5}}, schema)


class Exchange:
    """Asks a gateway, and compares each answer with what the document promises for it."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.seen: set[tuple[str, str, str]] = set()

    async def ask(self, method: str, url: str, expected: int, **more: Any) -> httpx2.Response:
        """One answer, with the expected status, as the document says."""
        path = self._path(method, url.partition("?")[0])
        response = await self._http.request(method, url, **more)
        assert response.status_code == expected, response.text
        self._check(OPERATIONS[method, path], response)
        self.seen.add((method, path, str(expected)))
        return response

    def _path(self, method: str, url: str) -> str:
        matching = [
            path for m, path in OPERATIONS if m == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), url)
        ]
        (path,) = [url] if url in matching else matching
        return path

    def _check(self, operation: dict[str, Any], response: httpx2.Response) -> None:
        said = operation["responses"][str(response.status_code)]
        for name in said.get("headers", {}):
            assert name in response.headers, name
        media = response.headers.get("content-type", "").partition(";")[0]
        if "content" not in said:
            assert response.content == b""
            return
        schema = said["content"][media].get("schema")
        if media.endswith("json"):
            VALIDATOR.check(response.json(), schema)
        elif media.startswith("image/"):
            assert schema is None


@asynccontextmanager
async def _exchange(data: Path, token: str | None = None, **settings: Any) -> AsyncIterator[Exchange]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        running_gateway(data, **FAST, **settings) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False, headers=headers) as http,
    ):
        yield Exchange(http)


async def test_real_answers_are_what_it_says(tmp_path: Path) -> None:
    """Every operation is asked for all that it answers when it succeeds, and for its common refusals."""
    token, line = new_token("ann")
    async with _exchange(tmp_path, token, access__tokens=[line]) as gateway:
        await _hatch(gateway)
        await _look_at_agents(gateway)
        await _ask_the_rest(gateway)
        await _be_refused(gateway)
    answers = {
        (method, path, status)
        for (method, path), said in OPERATIONS.items()
        for status in said["responses"]
        if status.startswith("2")
    }
    assert answers <= gateway.seen, answers - gateway.seen


async def _hatch(gateway: Exchange) -> None:
    key = {"Idempotency-Key": "k1"}
    hatch = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA), "image": {"seed": 7, "steps": 2}}
    began = await gateway.ask("post", "/v1/hatches", 202, json=hatch, headers=key)
    await gateway.ask("post", "/v1/hatches", 200, json=hatch, headers=key)
    await gateway.ask("post", "/v1/hatches", 409, json={"prompt": "a cat"}, headers=key)
    where = began.headers["location"]
    events = await gateway.ask("get", f"{where}/events", 200)
    last = re.findall(r"^id: (.*)$", events.text, re.MULTILINE)[-1]
    await gateway.ask("get", f"{where}/events", 204, headers={"Last-Event-ID": last})
    shown = (await gateway.ask("get", where, 200)).json()
    assert shown["end"]["outcome"] == "done"
    await gateway.ask("get", shown["artifacts"][0]["url"], 200)
    await gateway.ask("post", f"{where}/links", 201, json={})
    await gateway.ask("delete", where, 202)
    page = (await gateway.ask("get", "/v1/hatches?states=done,failed&limit=1", 200)).json()
    assert [item["agent"] for item in page["items"]] == [shown["end"]["agent"]]


async def _look_at_agents(gateway: Exchange) -> None:
    (agent,) = (await gateway.ask("get", "/v1/agents?q=wren", 200)).json()["items"]
    await gateway.ask("get", f"/v1/agents/{agent['agent']}", 200)
    await gateway.ask("get", f"/v1/agents/{agent['agent']}/avatar.png", 200)
    await gateway.ask("get", agent["card_png_url"], 200)
    await gateway.ask("get", agent["card_json_url"], 200)
    await gateway.ask("delete", f"/v1/agents/{agent['agent']}", 204)
    await gateway.ask("get", f"/v1/agents/{agent['agent']}", 404)


async def _ask_the_rest(gateway: Exchange) -> None:
    await gateway.ask("post", "/v1/uploads", 201, content=png(), headers={"Content-Type": "image/png"})
    await gateway.ask("post", "/v1/login", 200, json={})
    await gateway.ask("delete", "/v1/login", 204)
    for path in ("/healthz", "/readyz", "/metrics", "/v1/asyncapi.json", "/v1/openapi.json", "/v1/hatchery.d.ts"):
        await gateway.ask("get", path, 200)


async def _be_refused(gateway: Exchange) -> None:
    await gateway.ask("post", "/v1/hatches", 400, json={"prompt": 1})
    await gateway.ask("post", "/v1/hatches", 413, json={"prompt": "x", "image": {"width": 4096, "height": 4096}})
    await gateway.ask("post", "/v1/hatches", 422, json={"prompt": "x"}, headers={"Idempotency-Key": "k" * 201})
    await gateway.ask("get", "/v1/hatches?states=asleep", 422)
    await gateway.ask("get", "/v1/hatches/nobody", 404)
    await gateway.ask("get", "/v1/artifacts/abab?expires=1&signature=2", 403)
    await gateway.ask("post", "/v1/uploads", 400, content=b"GIF", headers={"Content-Type": "image/gif"})
    await gateway.ask("post", "/v1/hatches", 403, json={"prompt": "x"}, headers={"Origin": "https://evil.example"})


async def test_strangers_get_as_far_as_it_says(tmp_path: Path) -> None:
    _, line = new_token("ann")
    async with (
        running_gateway(tmp_path, access__tokens=[line]) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        for (method, path), said in OPERATIONS.items():
            response = await http.request(method, re.sub(r"{\w+}", "x", path), json={} if method == "post" else None)
            match said.get("security"):
                case []:
                    assert response.status_code == 200, path
                case [{"signature": []}]:
                    check_problem(response, 403, "forbidden")
                case _:
                    check_problem(response, 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/v1/asyncapi.json", "/v1/openapi.json"])
async def test_documents_are_served_whole(tmp_path: Path, path: str) -> None:
    async with _exchange(tmp_path) as gateway:
        response = await gateway.ask("get", path, 200)
        assert response.headers["content-type"] == "application/json"
        assert {"/v1/openapi.json": DOCUMENT}.get(path, response.json()) == response.json()
        assert response.json()["info"]["title"] == "Hatchery"
