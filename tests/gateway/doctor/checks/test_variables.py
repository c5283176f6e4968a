"""What variables do to bars: as told, and as the real tqdm shows it."""

import os
import subprocess
import sys

import pytest

from gateway.doctor.checks.variables import check_token, check_tqdm, tqdm_effect

PROGRAM = "from tqdm import tqdm; [None for _ in tqdm(range(2), mininterval=0)]"
CASES = [
    ("TQDM_ASCII=1", "crashes mflux"),
    ("TQDM_NCOLS=wide", "crashes mflux"),
    ("TQDM_WRITE_BYTES=1", "crashes mflux"),
    ("TQDM_FILE=x", "crashes mflux"),
    ("TQDM_DISABLE=0", "hides every bar"),
    ("TQDM_ASCII=true", "distorts the bars"),
    ("TQDM_BAR_FORMAT={l_bar}", "distorts the bars"),
    ("TQDM_DESC=owl", "distorts the bars"),
    ("TQDM_TOTAL=9", "distorts the bars"),
    ("TQDM_INITIAL=5", "distorts the bars"),
    ("TQDM_DELAY=5", "distorts the bars"),
    ("TQDM_ASCII= #", None),
    ("TQDM_NCOLS=100", None),
    ("TQDM_MININTERVAL=0", None),
    ("TQDM_DISABLE=", None),
    ("TQDM_UNKNOWN=1", None),
    ("ASCII=1", None),
]


@pytest.mark.parametrize(("setting", "effect"), CASES)
def test_an_effect(setting: str, effect: str | None) -> None:
    name, _, value = setting.partition("=")
    assert tqdm_effect(name, value) == effect


@pytest.mark.parametrize(("setting", "effect"), [case for case in CASES if case[1] != "distorts the bars"])
def test_tqdm_itself_agrees(setting: str, effect: str | None) -> None:
    name, _, value = setting.partition("=")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, name: value}, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == (effect == "crashes mflux")
    if effect != "crashes mflux":
        assert ("2/2" in done.stderr) == (effect is None)


def test_what_hatchery_keeps_from_its_children_is_only_noticed() -> None:
    (finding,) = check_tqdm({"TQDM_ASCII": "1", "PATH": "/bin"})
    assert (finding.status, finding.remedy) == ("notice", "unset TQDM_ASCII")
    assert "TQDM_ASCII=1 crashes mflux; Hatchery keeps it" in finding.found
    assert [finding.status for finding in check_tqdm({"PATH": "/bin", "TQDM_NCOLS": "90"})] == ["ok"]


def test_a_token_is_seen_but_never_shown(tmp_path: object) -> None:
    environ = {"HF_HOME": str(tmp_path)}
    assert "not set" in check_token(environ).found
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        finding = check_token({**environ, name: "hf_secret"})
        assert name in finding.found
        assert "secret" not in repr(finding)


def test_a_stored_login_is_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("hf")
    (home / "token").write_text("hf_secret")
    finding = check_token({"HF_HOME": str(home)})
    assert "login is stored" in finding.found
    assert "secret" not in repr(finding)
