"""The REST side over a real gateway with simulated engines."""

import hashlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
from PIL import Image

from actors.llm.server import LlmServer
from gateway.serve import Gateway
from protocol.commands import Watch
from protocol.events import Progress
from tests.helpers.gateways import PERSONA, listening_client, running_gateway
from tests.helpers.problems import check_problem

FAST = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
SLOW = {"sim__tokens_per_s": 1, "sim__step_s": 10}
REDRAW = {"prompt": "an owl", "persona": msgspec.to_builtins(PERSONA)}


@asynccontextmanager
async def _rest(data: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, httpx2.AsyncClient]]:
    async with (
        running_gateway(data, **settings) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        yield gateway, http


async def _ended(gateway: Gateway, session: str) -> None:
    """Wait for the end as a watcher hears of it."""
    async with listening_client(gateway) as listener:
        await listener.send(Watch(id=1, session=session))
        await listener.end(session)


async def test_a_started_hatch_is_where_its_location_says(tmp_path: Path) -> None:
    async with _rest(tmp_path, **FAST) as (gateway, http):
        began = await http.post("/v1/hatches", json={"prompt": "an owl", "image": {"seed": 7}})
        assert began.status_code == 202
        accepted = began.json()
        assert accepted == {"session": accepted["session"], "epoch": 1, "existing": False, "state": "queued"}
        assert began.headers["location"] == f"/v1/hatches/{accepted['session']}"
        await _ended(gateway, accepted["session"])
        shown = (await http.get(began.headers["location"])).json()
    assert shown["type"] == "snapshot"
    assert (shown["state"], shown["prompt"], shown["end"]["outcome"]) == ("done", "an owl", "done")
    assert shown["progress"]["percent"] == 100.0
    assert shown["persona"]["name"]
    assert len(shown["artifacts"]) == 1


async def test_a_key_starts_one_hatch(tmp_path: Path) -> None:
    async with _rest(tmp_path, **SLOW) as (_, http):
        key = {"Idempotency-Key": "k1"}
        first = await http.post("/v1/hatches", json={"prompt": "an owl"}, headers=key)
        again = await http.post("/v1/hatches", content=b'{ "image": {}, "prompt": "an\\u0020owl" }', headers={
            **key, "Content-Type": "application/json",
        })  # fmt: skip
        assert (first.status_code, again.status_code) == (202, 200)
        assert again.json() | {"state": ""} == first.json() | {"existing": True, "state": ""}
        assert again.headers["location"] == first.headers["location"]
        other = await http.post("/v1/hatches", json={"prompt": "a cat"}, headers=key)
        assert check_problem(other, 409, "key_conflict")["field"] == "key"
        assert len((await http.get("/v1/hatches")).json()["items"]) == 1


async def test_simultaneous_starts_with_one_key_start_one_hatch(tmp_path: Path) -> None:
    answers: list[httpx2.Response] = []
    async with _rest(tmp_path, **SLOW) as (_, http):

        async def start() -> None:
            answers.append(await http.post("/v1/hatches", json={"prompt": "x"}, headers={"Idempotency-Key": "k"}))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(start)
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["session"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "k" * 201])
async def test_a_key_has_bounds(tmp_path: Path, key: str) -> None:
    async with _rest(tmp_path) as (_, http):
        refused = await http.post("/v1/hatches", json={"prompt": "x"}, headers={"Idempotency-Key": key})
        assert check_problem(refused, 422, "invalid")["field"] == "key"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"prompt"',
        b"{}",
        b'{"prompt": 1}',
        b'{"prompt": "x", "image": {"steps": 0}}',
        b'{"prompt": "x", "image": {"seed": -1}}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x"} trailing',
        b"[" * 50_000,
        b'{"prompt": ' + b'{"a":' * 50_000,
        b'{"prompt": "x", "unknown": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
async def test_a_body_that_is_no_hatch_is_a_bad_message(tmp_path: Path, body: bytes) -> None:
    async with _rest(tmp_path) as (_, http):
        refused = await http.post("/v1/hatches", content=body, headers={"Content-Type": "application/json"})
        problem = check_problem(refused, 400, "bad_message")
        assert len(problem["detail"]) < 500
        assert (await http.get("/v1/hatches")).json()["items"] == []


@pytest.mark.parametrize(
    ("hatch", "status", "code", "field"),
    [
        ({"prompt": " "}, 422, "invalid", "hatch.prompt"),
        ({"prompt": "nul \0"}, 422, "invalid", "hatch.prompt"),
        ({"prompt": "x" * 2001}, 413, "too_large", "hatch.prompt"),
        ({"prompt": "x", "image": {"steps": 101}}, 413, "too_large", "hatch.image.steps"),
        ({"prompt": "x", "image": {"width": 4096, "height": 4096}}, 413, "too_large", "hatch.image.width"),
        (REDRAW | {"persona": REDRAW["persona"] | {"name": "\x07"}}, 422, "invalid", "hatch.persona.name"),
    ],
)
async def test_a_hatch_that_cannot_be_names_its_field(
    tmp_path: Path, hatch: dict[str, Any], status: int, code: str, field: str
) -> None:
    async with _rest(tmp_path) as (_, http):
        assert check_problem(await http.post("/v1/hatches", json=hatch), status, code)["field"] == field
        assert (await http.get("/v1/hatches")).json()["items"] == []


async def test_a_body_over_the_bound_is_refused_with_and_without_its_length(tmp_path: Path) -> None:
    async with _rest(tmp_path, wire__message_bytes=1000) as (gateway, http):
        big = b'{"prompt": "' + b"x" * 2000 + b'"}'

        async def in_pieces() -> AsyncIterator[bytes]:
            yield big[:600]
            yield big[600:]

        headers = {"Content-Type": "application/json"}
        check_problem(await http.post("/v1/hatches", content=big, headers=headers), 413, "too_large")
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as another:
            check_problem(await another.post("/v1/hatches", content=in_pieces(), headers=headers), 413, "too_large")
        assert (await http.get("/healthz")).status_code == 200


async def test_too_many_hatches_are_told_when_to_come_again(tmp_path: Path) -> None:
    async with _rest(tmp_path, hatch__running=1, **SLOW) as (_, http):
        assert (await http.post("/v1/hatches", json={"prompt": "x"})).status_code == 202
        full = await http.post("/v1/hatches", json={"prompt": "x"})
        assert check_problem(full, 503, "overloaded")["retry_after_ms"] == 5000
        assert full.headers["retry-after"] == "5"


async def test_pages_of_the_listing_hold_every_session_once_newest_first(tmp_path: Path) -> None:
    async with _rest(tmp_path, **SLOW) as (_, http):
        began = [(await http.post("/v1/hatches", json={"prompt": f"x{i}"})).json()["session"] for i in range(7)]
        found: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        sizes = []
        while True:
            page = (await http.get("/v1/hatches", params=query)).json()
            sizes.append(len(page["items"]))
            found += [item["session"] for item in page["items"]]
            if "before" not in page:
                break
            query["before"] = page["before"]
    assert found == began[::-1]
    assert sizes == [3, 3, 1]


async def test_the_listing_by_states(tmp_path: Path) -> None:
    async with _rest(tmp_path, llm__slots=1, **SLOW) as (_, http):
        began = [(await http.post("/v1/hatches", json={"prompt": "x"})).json()["session"] for _ in range(2)]
        await http.delete(f"/v1/hatches/{began[0]}")
        for states, wanted in (("cancelled", began[:1]), ("queued,writing", began[1:]), ("done", [])):
            with trio.fail_after(5):
                while True:
                    items = (await http.get("/v1/hatches", params={"states": states})).json()["items"]
                    if [item["session"] for item in items] == wanted:
                        break


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=%C2%B2", "limit"),
        ("before=x", "before"),
        ("before=-1", "before"),
        ("before=", "before"),
        ("states=hatched", "states"),
        ("states=done,", "states"),
    ],
)
async def test_a_wrong_query_names_its_parameter(tmp_path: Path, query: str, field: str) -> None:
    async with _rest(tmp_path) as (_, http):
        assert check_problem(await http.get(f"/v1/hatches?{query}"), 422, "invalid")["field"] == field


async def test_cancelling_is_idempotent_and_never_too_late(tmp_path: Path) -> None:
    async with _rest(tmp_path, **SLOW) as (gateway, http):
        where = (await http.post("/v1/hatches", json={"prompt": "x"})).headers["location"]
        first = await http.delete(where)
        assert first.status_code == 202
        assert first.json()["state"] in ("cancelling", "cancelled")
        await _ended(gateway, where.rpartition("/")[2])
        late = await http.delete(where)
        assert (late.status_code, late.json()["state"]) == (202, "cancelled")
        shown = (await http.get(where)).json()
        assert shown["end"]["outcome"] == "cancelled"
        assert (await http.delete(where)).json() == late.json()
        check_problem(await http.delete("/v1/hatches/unknown"), 404, "not_found")


async def test_the_picture_is_whole_behind_its_signed_url_only(tmp_path: Path) -> None:
    async with _rest(tmp_path, **FAST) as (gateway, http):
        where = (await http.post("/v1/hatches", json=REDRAW)).headers["location"]
        await _ended(gateway, where.rpartition("/")[2])
        artifact = (await http.get(where)).json()["artifacts"][0]
        got = await http.get(artifact["url"])
        assert got.status_code == 200
        assert got.headers["content-type"] == artifact["mime"] == "image/png"
        assert len(got.content) == artifact["bytes"]
        assert hashlib.sha256(got.content).hexdigest() == artifact["sha256"]
        with Image.open(io.BytesIO(got.content)) as picture:
            assert picture.size == (artifact["width"], artifact["height"])
        part = await http.get(artifact["url"], headers={"Range": "bytes=0-7"})
        assert (part.status_code, part.content) == (206, got.content[:8])
        head = await http.head(artifact["url"])
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(artifact["bytes"])

        path, _, query = artifact["url"].partition("?")
        forged = [
            path,
            artifact["url"][:-1] + ("0" if artifact["url"][-1] != "0" else "1"),
            f"{path}?{query.replace('expires=', 'expires=9')}",
            f"/v1/artifacts/{'0' * 64}?{query}",
            f"/v1/artifacts/..%2F..%2Fetc%2Fpasswd?{query}",
        ]
        for url in forged:
            refused = await http.get(url)
            assert refused.status_code in (403, 404), url
            assert refused.headers["content-type"] == "application/problem+json"


async def test_an_expired_url_is_gone_and_a_fresh_snapshot_renews_it(tmp_path: Path) -> None:
    async with _rest(tmp_path, hatch__artifact_url_s=1.0, **FAST) as (gateway, http):
        where = (await http.post("/v1/hatches", json=REDRAW)).headers["location"]
        await _ended(gateway, where.rpartition("/")[2])
        url = (await http.get(where)).json()["artifacts"][0]["url"]
        assert (await http.get(url)).status_code == 200
        await trio.sleep(2.1)  # the expiry is in whole seconds of the wall clock
        check_problem(await http.get(url), 410, "gone")
        renewed = (await http.get(where)).json()["artifacts"][0]["url"]
        assert renewed != url
        assert (await http.get(renewed)).status_code == 200


async def test_health_and_readiness(tmp_path: Path) -> None:
    async with _rest(tmp_path, **SLOW) as (_, http):
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        await http.post("/v1/hatches", json={"prompt": "x"})
        ready = (await http.get("/readyz")).json()
        assert ready == {"status": "ok", "engines": {"llm": "sim", "image": "sim"}, "running": 1}


TOY = f"{sys.executable} {Path(__file__).parents[2] / 'helpers' / 'toy_llm_server.py'}"


async def _until_ready_is(http: httpx2.AsyncClient, status: int) -> dict[str, Any]:
    """The answer that says so; it is asked for again and again, as a load balancer does."""
    with trio.fail_after(20):
        while True:
            response = await http.get("/readyz")
            if response.status_code == status:
                body: dict[str, Any] = response.json()
                return body
            await trio.sleep(0.01)


async def test_it_is_not_ready_before_its_own_llm_server_is_and_says_so(tmp_path: Path) -> None:
    async with _rest(tmp_path, llm__engine=TOY) as (gateway, http):
        name = Path(sys.executable).name
        starting = {"status": "no writer", "reason": f"{name} is starting"}
        assert (await http.get("/readyz")).json().items() >= starting.items()
        assert (await _until_ready_is(http, 200))["status"] == "ok"
        server = gateway.services.sessions.workshop.llm
        assert isinstance(server, LlmServer)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert (await _until_ready_is(http, 503)).items() >= starting.items()
        assert "reason" not in await _until_ready_is(http, 200)


async def test_a_hatch_waits_for_the_llm_server_and_says_so(tmp_path: Path) -> None:
    async with _rest(tmp_path, llm__engine=f"{TOY} --mute") as (gateway, http):
        await http.post("/v1/hatches", json={"prompt": "an owl"})
        async with listening_client(gateway) as listener:
            (item,) = (await http.get("/v1/hatches")).json()["items"]
            await listener.send(Watch(id=1, session=item["session"]))
            said = await listener.until(
                object, lambda m: "is starting" in getattr(getattr(m, "progress", m), "message", "")
            )
        progress = msgspec.convert(getattr(said, "progress", said), Progress)
        assert (progress.stage, progress.basis) == ("persona", "indeterminate")
