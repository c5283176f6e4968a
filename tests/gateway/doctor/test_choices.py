"""Every value that is offered is one that the settings take."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from actors.llm.dialect import parse_llm
from actors.mflux.detect import COMMANDS
from gateway.doctor.checks.image import configured_program
from gateway.doctor.choices import Choice, list_choices
from tests.helpers.scripted_http import head_of, scripted_server, send

LISTING = {"object": "list", "data": [{"id": "owl", "object": "model", "owned_by": "somebody"}]}


def values(choices: list[Choice], option: str) -> dict[str, Choice]:
    return {choice.value: choice for choice in choices if choice.option == option}


async def test_a_server_that_answers_stands_ready_and_auto_names_it() -> None:
    async with scripted_server(send(head_of("200 OK", "application/json") + json.dumps(LISTING).encode())) as server:
        writers = values(await list_choices({}, (server.port,)), "--llm")
    url = f"{server.url}/v1"
    assert (writers[url].state, writers[url].about) == ("ready", "answers, model owl")
    assert writers["auto"].about == f"now takes {url}"


async def test_the_state_of_each_mflux_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    (first, repository), (second, _), (third, _) = COMMANDS[:3]
    for name in (first, second):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    snapshot = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "0.safetensors").write_text("")
    painters = values(await list_choices({"PATH": str(tmp_path), "HF_HOME": str(tmp_path)}, ()), "--image")
    assert [painters[name].state for name in (first, second, third)] == ["ready", "to download", "not installed"]
    assert painters["auto"].about == f"now takes {first}"


async def test_what_is_offered_can_be_set() -> None:
    choices = await list_choices(os.environ, ())
    for choice in choices:
        option, value = shlex.split(choice.flag)
        assert (option, value) == (choice.option, choice.value), "one word for a shell"
    for value in values(choices, "--llm").keys() - {"auto", "demo", "sim"}:
        parse_llm(value)
    for choice in values(choices, "--image").values():
        if choice.state in ("ready", "to download"):
            configured_program(choice.value, os.environ)
