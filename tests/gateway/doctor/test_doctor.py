"""The doctor as a whole, and what its two commands print and answer."""

import json
import os
import socket
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.doctor.doctor import doctor, run_doctor, run_engines, try_progress
from gateway.layers import load_config

SUBJECTS = (
    "Python platform versions memory clock children clients terminal data disk gateway port writer mflux painter "
    "tqdm token"
)


def settings(tmp_path: Path, engine: str = "demo", port: int = 0) -> Config:
    flags = {"llm.engine": "demo", "image.engine": engine, "server.data": str(tmp_path), "server.port": port}
    return load_config(flags=flags)


async def test_everything_is_looked_at_and_nothing_is_touched(tmp_path: Path) -> None:
    environ = {**os.environ, "HF_TOKEN": "hf_secret", "HATCHERY_LLM_API_KEY": "sk-secret"}
    findings = await doctor(settings(tmp_path / "data"), environ, ())
    assert set(SUBJECTS.split()) <= {finding.subject for finding in findings}
    assert "secret" not in repr(findings)
    assert os.listdir(tmp_path) == []


async def test_a_problem_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_doctor(settings(tmp_path), probing=False, as_json=False) == 0
    assert "\nproblem " not in capsys.readouterr().out
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = settings(tmp_path, port=taken.getsockname()[1])
        assert await run_doctor(config, probing=False, as_json=True) == 1
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [finding["subject"] for finding in findings if finding["status"] == "problem"] == ["port"]


async def test_probing_adds_what_each_reader_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_doctor(settings(tmp_path), probing=True, as_json=True) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    *sights, finding = said[-5:]
    assert [sight["type"] for sight in sights] == ["sight"] * 4
    assert sights[-1]["bars"] == ["0/2", "1/2", "2/2"]
    assert (finding["subject"], finding["status"]) == ("probe", "ok")


async def test_a_probe_that_fails_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_doctor(settings(tmp_path, "true"), probing=True, as_json=False) == 1
    assert "true drew nothing" in capsys.readouterr().out


@pytest.mark.parametrize(("engine", "status"), [("sim", "notice"), ("no-such-command", "problem")])
async def test_what_cannot_be_probed(tmp_path: Path, engine: str, status: str) -> None:
    finding, sights = await try_progress(settings(tmp_path, engine), os.environ)
    assert (finding.subject, finding.status, sights) == ("probe", status, ())


async def test_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_engines(as_json=True) == 0
    choices = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {choice["option"] for choice in choices} == {"--llm", "--image"}
    assert {"auto", "demo", "sim"} <= {choice["value"] for choice in choices if choice["option"] == "--image"}
