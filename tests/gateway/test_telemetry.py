import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)


def test_logs_go_where_stderr_is_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display takes stderr over so that a log line does not tear it."""
    log = structlog.get_logger()
    configure_logging(verbose=True)
    for name in ("before", "within"):
        taken = io.StringIO()
        monkeypatch.setattr(sys, "stderr", taken)
        log.info(name, session="s")
        (line,) = taken.getvalue().splitlines()
        logged = json.loads(line)
        assert (logged["event"], logged["session"], logged["level"]) == (name, "s", "info")


def test_a_quiet_command_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=False)
    log = structlog.get_logger()
    log.info("hatch_started")
    log.warning("llm_demo", reason="why")
    said = capsys.readouterr()
    assert said.out == ""
    assert [json.loads(line)["event"] for line in said.err.splitlines()] == ["llm_demo"]


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(verbose=False)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["exception"]
