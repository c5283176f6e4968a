"""What every request must pass, against a real gateway."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect
from websockets.typing import Subprotocol

from gateway.access.auth import new_token, user_of
from gateway.access.entrance import open_entrance
from gateway.access.origin import OriginPolicy
from gateway.app import create_app
from gateway.config import AccessConfig, Config, ServerConfig
from tests.helpers.gateways import running_gateway
from tests.helpers.problems import check_problem

ALLOWED = "https://studio.example"
JSON = {"Content-Type": "application/json"}
HATCH = b'{"prompt": "an owl"}'


@asynccontextmanager
async def _http(data: Path, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        running_gateway(data, **settings) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        yield http


async def test_what_is_not_there_is_a_problem(tmp_path: Path) -> None:
    async with _http(tmp_path) as http:
        for path in ("/nothing", "/v1/hatches/unknown", "/v1/artifacts", "/v1/%00", "/v1/hatches/a%2Fb"):
            check_problem(await http.get(path), 404, "not_found")
        refused = await http.put("/healthz", json={})
        check_problem(refused, 405, "bad_message")
        assert set(re.split(", *", refused.headers["allow"])) == {"GET", "HEAD"}


async def test_head_is_get_without_a_body(tmp_path: Path) -> None:
    async with _http(tmp_path) as http:
        for path in ("/healthz", "/v1/hatches", "/nothing"):
            got, head = await http.get(path), await http.head(path)
            assert head.status_code == got.status_code
            assert head.headers["content-length"] == got.headers["content-length"]
            assert head.content == b""


async def test_another_host_is_refused_for_reading_and_changing(tmp_path: Path) -> None:
    async with _http(tmp_path, server__allowed_origins=[ALLOWED]) as http:
        port = http.base_url.port
        for host in ("evil.example", f"evil.example:{port}", "localhost", f"127.0.0.1:{(port or 0) + 1}"):
            check_problem(await http.get("/healthz", headers={"Host": host}), 400, "bad_message")
            check_problem(
                await http.post("/v1/hatches", content=HATCH, headers={**JSON, "Host": host}), 400, "bad_message"
            )
            preflight = {"Host": host, "Origin": ALLOWED, "Access-Control-Request-Method": "POST"}
            check_problem(await http.options("/v1/hatches", headers=preflight), 400, "bad_message")
        assert (await http.get("/healthz", headers={"Host": f"LOCALHOST:{port}"})).status_code == 200
        assert (await http.get("/v1/hatches")).json()["items"] == []


async def test_a_public_url_is_served_and_its_pages_may_hatch(tmp_path: Path) -> None:
    async with _http(tmp_path, server__public_urls=["https://hatch.example"]) as http:
        headers = {**JSON, "Host": "hatch.example", "Origin": "https://hatch.example"}
        assert (await http.post("/v1/hatches", content=HATCH, headers=headers)).status_code == 202


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "https://studio.example:444"])
async def test_foreign_pages_may_read_health_but_change_nothing(tmp_path: Path, origin: str) -> None:
    async with _http(tmp_path, server__allowed_origins=[ALLOWED]) as http:
        headers = {**JSON, "Origin": origin}
        check_problem(await http.post("/v1/hatches", content=HATCH, headers=headers), 403, "forbidden")
        check_problem(await http.delete("/v1/hatches/x", headers={"Origin": origin}), 403, "forbidden")
        assert (await http.get("/v1/hatches")).json()["items"] == []
        assert "access-control-allow-origin" not in (await http.get("/healthz", headers={"Origin": origin})).headers


async def test_own_and_allowed_pages_may_hatch(tmp_path: Path) -> None:
    async with _http(tmp_path, server__allowed_origins=[ALLOWED]) as http:
        for origin in (str(http.base_url).rstrip("/"), ALLOWED):
            answer = await http.post("/v1/hatches", content=HATCH, headers={**JSON, "Origin": origin})
            assert answer.status_code == 202
            assert answer.headers.get("access-control-allow-origin") == (ALLOWED if origin == ALLOWED else None)
            assert "Location" in answer.headers["access-control-expose-headers"]


async def test_an_allowed_page_can_read_why_it_was_refused(tmp_path: Path) -> None:
    async with _http(tmp_path, server__allowed_origins=[ALLOWED]) as http:
        refused = await http.post("/v1/hatches", content=b"{}", headers={**JSON, "Origin": ALLOWED})
        assert refused.status_code == 400
        assert refused.headers["access-control-allow-origin"] == ALLOWED


async def test_preflights_are_answered_for_allowed_pages_only(tmp_path: Path) -> None:
    asked = {
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "idempotency-key,content-type",
    }
    async with _http(tmp_path, server__allowed_origins=[ALLOWED]) as http:
        yes = await http.options("/v1/hatches/x", headers={**asked, "Origin": ALLOWED})
        assert yes.status_code == 200
        assert yes.headers["access-control-allow-origin"] == ALLOWED
        assert "DELETE" in yes.headers["access-control-allow-methods"]
        for origin in ("https://evil.example", "null"):
            no = await http.options("/v1/hatches/x", headers={**asked, "Origin": origin})
            assert no.status_code == 400
            assert "access-control-allow-origin" not in no.headers


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
async def test_a_body_that_a_form_could_send_is_refused(tmp_path: Path, content_type: str | None) -> None:
    async with _http(tmp_path) as http:
        headers = {} if content_type is None else {"Content-Type": content_type}
        problem = check_problem(await http.post("/v1/hatches", content=HATCH, headers=headers), 400, "bad_message")
        assert "application/json" in problem["detail"]


async def test_json_may_name_its_charset(tmp_path: Path) -> None:
    async with _http(tmp_path) as http:
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        assert (await http.post("/v1/hatches", content=HATCH, headers=headers)).status_code == 202


async def test_every_answer_keeps_browsers_from_guessing(tmp_path: Path) -> None:
    async with _http(tmp_path) as http:
        for answer in (
            await http.get("/healthz"),
            await http.get("/no"),
            await http.get("/", headers={"Host": "evil"}),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-frame-options"] == "DENY"
            policy = [part.split() for part in answer.headers["content-security-policy"].split(";")]
            assert ["default-src", "'none'"] in policy
            assert ["frame-ancestors", "'none'"] in policy
            assert not {"*", "'unsafe-inline'", "'unsafe-eval'"} & {word for part in policy for word in part}


async def test_what_breaks_is_a_problem_without_a_word_about_the_inside() -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("the secret is 42")

    policy = OriginPolicy(host="127.0.0.1", port=80, public_urls=[], allowed_origins=[])
    app = create_app([Route("/", broken)], policy, open_entrance(Config(), b"secret"))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get("/")
    check_problem(answer, 500, "internal")
    assert "42" not in answer.text


async def test_a_stricter_policy_stands_and_handlers_learn_who_asks_from_where() -> None:
    async def answer(request: Request) -> Response:
        said = f"{user_of(request)} {request.client.host if request.client else None} {request.url.scheme}"
        return Response(said, headers={"Content-Security-Policy": "sandbox"})

    proxied = Config(server=ServerConfig(trusted_proxies=["10.0.0.0/8"]))
    policy = OriginPolicy(host="127.0.0.1", port=80, public_urls=[], allowed_origins=[])
    app = create_app([Route("/v1/x", answer)], policy, open_entrance(proxied, b"secret"))
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    for peer, said in (("10.0.0.1", "local 192.0.2.7 https"), ("192.0.2.1", "local 192.0.2.1 http")):
        transport = httpx2.ASGITransport(app=app, client=(peer, 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            got = await http.get("/v1/x", headers=headers)
        assert got.text == said
        assert got.headers["content-security-policy"] == "sandbox"


async def test_behind_a_signature_is_nobody_until_it_is_checked() -> None:
    async def whose(request: Request) -> Response:
        return Response(user_of(request))

    token, line = new_token("ada")
    policy = OriginPolicy(host="127.0.0.1", port=80, public_urls=[], allowed_origins=[])
    entrance = open_entrance(Config(access=AccessConfig(tokens=[line])), b"secret")
    paths = ("/v1/agents/a/card.png", "/v1/artifacts/x", "/metrics")
    app = create_app([Route(path, whose) for path in paths], policy, entrance)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as http:
        for path in paths:
            check_problem(await http.get(f"{path}?signature=x"), 401, "unauthenticated")
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await http.get("/v1/agents/a/card.png?signature=x", headers=bearer)).text == "ada"


async def test_an_allowed_page_can_read_that_a_token_is_needed(tmp_path: Path) -> None:
    token, line = new_token("ada")
    async with _http(tmp_path, server__allowed_origins=[ALLOWED], access__tokens=[line]) as http:
        refused = await http.get("/v1/hatches", headers={"Origin": ALLOWED})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ALLOWED)
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert (await http.options("/v1/hatches", headers={**asked, "Origin": ALLOWED})).status_code == 200
        bearer = {**JSON, "Origin": ALLOWED, "Authorization": f"Bearer {token}"}
        assert (await http.post("/v1/hatches", content=HATCH, headers=bearer)).status_code == 202


async def test_what_the_raw_layer_answers_keeps_browsers_from_guessing_too(tmp_path: Path) -> None:
    key = "A" * 22 + "=="
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    async with running_gateway(tmp_path, server__max_connections=1) as gateway:
        authority = gateway.url.removeprefix("http://")
        host, port = authority.split(":")
        for status, request in (
            (400, "nonsense\r\n\r\n"),
            (400, f"GET nowhere HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
            (400, f"GET /v1/ws HTTP/1.1\r\nHost: evil.example\r\n{upgrade}\r\n"),
            (403, f"GET /v1/ws HTTP/1.1\r\nHost: {authority}\r\nOrigin: https://evil.example\r\n{upgrade}\r\n"),
            (404, f"GET /ws HTTP/1.1\r\nHost: {authority}\r\n{upgrade}\r\n"),
            (101, f"GET /v1/ws HTTP/1.1\r\nHost: {authority}\r\n{upgrade}\r\n"),
        ):
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(request.encode())
                _check_bridle(await _head(stream), status)
                if status == 101:  # the one place is taken
                    async with await trio.open_tcp_stream(host, int(port)) as another:
                        _check_bridle(await _head(another), 503)


async def _head(stream: trio.SocketStream) -> str:
    head = b""
    with trio.fail_after(10):
        while b"\r\n\r\n" not in head:
            part = await stream.receive_some()
            assert part
            head += part
    return head.partition(b"\r\n\r\n")[0].decode().lower()


def _check_bridle(head: str, status: int) -> None:
    assert head.startswith(f"http/1.1 {status} "), head
    for header in ("x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: deny"):
        assert head.count(header) == 1, (header, head)
    assert status == 101 or "content-security-policy: default-src 'none'" in head


async def test_a_page_served_elsewhere_gets_all_it_needs_once_its_origin_is_allowed(tmp_path: Path) -> None:
    """Its socket, its pictures and its events, with a token that it has; and nothing before."""
    token, line = new_token("ada")
    settings: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "access__tokens": [line]}
    page = "http://localhost:5173"
    bearer = {"Authorization": f"Bearer {token}"}
    for allowed in ([], [page]):
        shown = page if allowed else None
        async with (
            running_gateway(tmp_path / str(len(allowed)), server__allowed_origins=allowed, **settings) as gateway,
            httpx2.AsyncClient(base_url=gateway.url, trust_env=False, headers=bearer) as http,
        ):
            offered = ["hatch.v1.json", "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")]
            socket = connect(
                gateway.url.replace("http", "ws") + "/v1/ws",
                additional_headers={"Origin": page},
                subprotocols=[Subprotocol(offer) for offer in offered],
                proxy=None,
            )
            if allowed:
                async with socket as open_socket:
                    await open_socket.send('{"type":"hello","id":1}')
                    assert "welcome" in str(await open_socket.recv())
            else:
                with pytest.raises(InvalidStatus, match="403"):
                    await socket.__aenter__()
            where = (await http.post("/v1/hatches", json={"prompt": "an owl"})).headers["location"]
            events = await http.get(f"{where}/events", headers={"Origin": page, "Last-Event-ID": "1.0.0"})
            assert events.headers.get("access-control-allow-origin") == shown
            (picture,) = (await http.get(where)).json()["artifacts"]
            (agent,) = (await http.get("/v1/agents")).json()["items"]
            for url in (where, "/v1/agents", picture["url"], agent["avatar_url"], agent["card_png_url"]):
                answer = await http.get(url, headers={"Origin": page})
                assert answer.status_code == 200
                assert answer.headers.get("access-control-allow-origin") == shown
                as_image = await http.get(url)  # whose answer must not do for a fetch, out of the browser's cache
                assert "Origin" in as_image.headers["vary"]
            asked = {
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization,last-event-id",
            }
            preflight = await http.options(f"{where}/events", headers={"Origin": page, **asked})
            assert preflight.headers.get("access-control-allow-origin") == shown
            assert (preflight.status_code == 200) is bool(allowed)
