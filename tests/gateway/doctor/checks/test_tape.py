from pathlib import Path

from gateway.config import Config, ImageConfig, LlmConfig
from gateway.doctor.checks.image import check_image
from gateway.doctor.checks.llm import check_llm
from protocol.tape import write_line
from tests.helpers.tapes import HEADER, SNAPSHOT


async def test_a_tape_that_can_be_played_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "a.tape"
    file.write_bytes(write_line(HEADER) + write_line((0.0, SNAPSHOT)))
    writer = (await check_llm(LlmConfig(engine=f"tape:{file}"), {}, ()))[-1]
    painter = check_image(Config(image=ImageConfig(engine=f"tape:{file}")), {})[-1]
    assert (writer.status, painter.status) == ("ok", "ok")
    assert "“an owl”" in writer.found


async def test_a_tape_that_cannot_be_played_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "a.tape"
    file.write_bytes(write_line(HEADER) + b"[1\n")
    writer = (await check_llm(LlmConfig(engine=f"tape:{file}"), {}, ()))[-1]
    painter = check_image(Config(image=ImageConfig(engine=f"tape:{file}")), {})[-1]
    assert (writer.status, painter.status) == ("problem", "problem")
    assert "a.tape is no tape: line 2: " in writer.found
