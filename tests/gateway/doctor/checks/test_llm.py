"""Servers that answer, refuse or are not there; every byte of theirs is the test's."""

import json
import os
import socket
from collections.abc import Iterator

import pytest
import trio

from actors.llm.detect import DetectedLlm
from gateway.config import LlmConfig
from gateway.doctor.checks.llm import check_llm, engine_value, find_servers
from gateway.doctor.finding import Finding
from tests.helpers.scripted_http import Answer, Received, head_of, refuse, scripted_server, send


def listing(model: str) -> Answer:
    body = {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "somebody"}]}
    return send(head_of("200 OK", "application/json") + json.dumps(body).encode())


@pytest.fixture
def free() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


async def writer(engine: str, *, ports: tuple[int, ...] = (), model: str = "", api_key: str = "") -> Finding:
    return (await check_llm(LlmConfig(engine=engine, model=model, api_key=api_key), os.environ, ports))[-1]


async def test_all_that_answer_are_listed_and_auto_takes_the_first(free: int) -> None:
    async with scripted_server(listing("wren")) as a, scripted_server(listing("owl")) as b:
        ports = (free, b.port, a.port)
        assert await find_servers(ports) == [DetectedLlm(f"{b.url}/v1", "owl"), DetectedLlm(f"{a.url}/v1", "wren")]
        servers, chosen = await check_llm(LlmConfig(), {}, ports)
        assert servers.found == f"{b.url}/v1 with owl; {a.url}/v1 with wren"
        assert chosen.status == "ok"
        assert f"auto takes {b.url}/v1" in chosen.found


def test_the_value_for_a_server_names_a_dialect_that_its_address_does_not_tell() -> None:
    assert engine_value(DetectedLlm("http://127.0.0.1:8080/v1", "owl")) == "http://127.0.0.1:8080/v1"
    assert engine_value(DetectedLlm("http://127.0.0.1:11434/v1", "owl", "ollama")).startswith("ollama:http://")


async def test_auto_without_a_server_says_what_to_start(free: int) -> None:
    finding = await writer("auto", ports=(free,))
    assert finding.status == "notice"
    assert "mlx_lm.server" in finding.remedy


async def test_what_is_built_in_needs_nothing() -> None:
    assert (await writer("demo")).status == (await writer("sim")).status == "ok"


async def test_a_configured_server_that_answers() -> None:
    async with scripted_server(listing("owl")) as server:
        finding = await writer(f"{server.url}/v1")
        assert finding.status == "ok"
        assert f"{server.url}/v1 answers, model owl" in finding.found
        assert "model wren" in (await writer(f"{server.url}/v1", model="wren")).found


@pytest.mark.parametrize(("dialect", "target"), [("ollama", "/api/tags"), ("anthropic", "/v1/models")])
async def test_each_dialect_is_asked_in_its_own_words(dialect: str, target: str) -> None:
    async with scripted_server(send(head_of("200 OK", "application/json") + b"{}")) as server:
        assert (await writer(f"{dialect}:{server.url}", model="owl")).status == "ok"
        assert [request.target for request in server.requests] == [target]


async def test_no_model_is_a_problem_where_none_is_ever_chosen() -> None:
    async with scripted_server(send(head_of("200 OK", "application/json") + b"{}")) as server:
        finding = await writer(f"anthropic:{server.url}")
        assert (finding.status, finding.remedy) == ("problem", "HATCHERY_LLM_MODEL=NAME")
        assert (await writer(f"ollama:{server.url}")).status == "notice", "its list is empty"


async def test_a_key_is_sent_and_its_refusal_told_but_it_is_never_shown() -> None:
    async with scripted_server(refuse("401 Unauthorized")) as server:
        finding = await writer(f"{server.url}/v1", api_key="sk-secret")
        assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert (finding.status, finding.remedy) == ("problem", "set HATCHERY_LLM_API_KEY")
    assert "secret" not in repr(finding)


async def test_a_server_that_lists_nothing_may_still_write() -> None:
    async with scripted_server(refuse("404 Not Found")) as server:
        assert (await writer(f"{server.url}/api")).status == "notice"


async def test_nobody_there(free: int) -> None:
    finding = await writer(f"http://user:secret@127.0.0.1:{free}/v1")
    assert finding.status == "problem"
    assert f"127.0.0.1:{free}" in finding.found
    assert "secret" not in repr(finding)


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(stream: object, _: Received) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("gateway.doctor.checks.llm.ANSWER_S", 0.2)
    async with scripted_server(hang) as server:
        with trio.fail_after(5.0):
            assert (await writer(f"{server.url}/v1")).status == "problem"


@pytest.mark.parametrize("engine", ["ftp://127.0.0.1", "ollama:here", "", "'"])
async def test_what_cannot_be(engine: str) -> None:
    finding = await writer(engine)
    assert (finding.status, finding.remedy) == ("problem", "--llm auto")


async def test_a_command_to_run() -> None:
    assert (await writer("sh --model owl")).found.endswith("/sh, which the gateway will run")
    assert (await writer("no-such-server --model owl")).status == "problem"
