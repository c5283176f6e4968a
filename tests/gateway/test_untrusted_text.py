"""What people and models write is text wherever it goes: to files, logs, headers and answers."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import structlog
from PIL import Image

from gateway.hatching import _free_folder
from gateway.telemetry import configure_logging
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.wire import open_wire

HOSTILE = '"; rm -rf ~ #\n<script>alert(1)</script> ../../x \u202e --output=/tmp/x $(id) \u2028'
HOSTILE_PERSONA = msgspec.structs.replace(
    PERSONA, name="<img src=x>\r-- ../../etc"[:60].replace("\r", "\n"), tagline=HOSTILE[:140], backstory=HOSTILE
)
FAST: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        ".",
        "/",
        "/etc",
        "-rf",
        "~",
        "a\nb\tc",
        "<script>",
        "\u202e",
        "🐉",
        "con",
        "𐐀" * 60,
        "İ" * 60,
    ],
)
def test_an_agent_s_folder_is_a_new_one_right_here(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        folder = _free_folder(name)
        assert len(folder.parts) == 1
        assert folder.name[0].isalnum()
        folder.mkdir()
    assert len(list(tmp_path.iterdir())) == 2


async def test_no_answer_is_more_than_data_and_no_header_holds_a_word(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, **FAST) as gateway,
        open_wire(gateway.url) as wire,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        hatch = {"prompt": HOSTILE, "persona": msgspec.to_builtins(HOSTILE_PERSONA)}
        session = (await wire.ask("start", hatch=hatch))["session"]
        await wire.end(session)
        assert (await wire.ask("list"))["items"][0]["prompt"] == HOSTILE
        (agent,) = (await http.get("/v1/agents")).json()["items"]
        assert agent["persona"] == msgspec.to_builtins(HOSTILE_PERSONA)
        where = f"/v1/hatches/{session}"
        urls = [
            agent["avatar_url"],
            agent["card_png_url"],
            agent["card_json_url"],
            where,
            f"{where}/events",
            "/v1/agents",
        ]
        kinds = {"application/json", "application/problem+json", "image/png", "text/event-stream"}
        for answer in (
            *[await http.get(url) for url in urls],
            await http.get("/v1/agents", params={"q": HOSTILE, "before": HOSTILE}),
            await http.get("/v1/hatches/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
            await http.get("/v1/hatches", params={"states": HOSTILE}),
        ):
            assert answer.headers["content-type"].partition(";")[0] in kinds
            assert answer.headers["x-content-type-options"] == "nosniff"
            said = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
            assert "script>" not in said
            assert "rm -rf" not in said
        for url in urls[:2]:
            Image.open(io.BytesIO((await http.get(url)).content)).load()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_a_log_line_stays_one_line_and_commands_no_terminal(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = structlog.get_config()
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    hostile = "bored\n2026-01-01 [error] all is lost\x1b]0;owned\x07\x1b[2J\r\x9b1A\u2028"
    try:
        configure_logging(verbose=True)
        structlog.get_logger().info("hatch_ended", reason=hostile)
        line = shown.getvalue()
        assert line.count("\n") == 1
        assert not {"\x07", "\r", "\x9b", "\u2028"} & set(line)
        assert "\x1b]" not in line
        assert "\x1b[2J" not in line
        if stream is io.StringIO:
            assert json.loads(line)["reason"] == hostile
        try:
            raise ValueError(hostile)
        except ValueError:
            structlog.get_logger().exception("failed")
        assert "\x1b]0" not in shown.getvalue()
        assert "\r" not in shown.getvalue()
    finally:
        structlog.configure(**before)
