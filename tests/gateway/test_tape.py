"""A hatch is recorded as it is watched, and played again as an engine: the same words, steps and picture."""

import io
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.config import ConfigError
from gateway.tape import Order, load_tape, record
from protocol.commands import HatchRequest, ImageOptions
from protocol.events import Accepted, Artifact, End, PersonaReady, Snapshot, Text
from protocol.tape import Tape, read_tape
from tests.helpers.children import run_hatchery
from tests.helpers.gateways import Listener, check_session, listening_client, running_gateway

SIM: dict[str, Any] = {"sim__tokens_per_s": 400.0, "sim__step_s": 0.05, "sim__steps": 4}
HATCH = HatchRequest(prompt="a lighthouse owl", image=ImageOptions(seed=7))


async def recorded(data: Path, *, picture: bool = True, after_the_end: bool = False) -> tuple[bytes, Listener, str]:
    """A sim hatch on tape, and who watched it meanwhile."""
    out, said = io.BytesIO(), list[str]()
    async with running_gateway(data, **SIM) as gateway, listening_client(gateway) as listener:
        accepted = await listener.start(HATCH)
        if after_the_end:
            await listener.end(accepted.session)
        order = Order(session=accepted.session, url=gateway.url, token=None, picture=picture)
        assert await record(order, out, said.append) == 0
        await listener.end(accepted.session)
    assert bool(said) is after_the_end
    return out.getvalue(), listener, accepted.session


async def replayed(data: Path, file: Path, speed: float) -> tuple[Listener, str]:
    engine = f"tape:{file}"
    async with (
        running_gateway(data, llm__engine=engine, image__engine=engine, tape__speed=speed) as gateway,
        listening_client(gateway) as listener,
    ):
        accepted: Accepted = await listener.start(HatchRequest(prompt="whatever"))
        await listener.end(accepted.session)
    return listener, accepted.session


async def test_a_hatch_is_played_again_with_the_same_words_steps_and_picture(tmp_path: Path) -> None:
    data, original, _ = await recorded(tmp_path / "one")
    file = tmp_path / "hatch.tape"
    file.write_bytes(data)
    began = trio.current_time()
    again, session_again = await replayed(tmp_path / "two", file, 50.0)
    took = trio.current_time() - began

    check_session(again, session_again)
    (persona,), (same,) = original.all(PersonaReady), again.all(PersonaReady)
    assert same.persona == persona.persona
    (picture,), (same_picture,) = original.all(Artifact), again.all(Artifact)
    assert same_picture.sha256 == picture.sha256
    (end,) = again.all(End)
    assert end.outcome == "done"
    assert end.receipt.engines == msgspec.structs.replace(end.receipt.engines, llm="tape", image="tape")
    assert (end.receipt.llm, end.receipt.worker) == ("closed", "idle")
    assert (end.receipt.steps_done, end.receipt.steps) == (4, 4)
    assert same.writer is not None
    assert same.writer.engine == "tape", "nothing pretends to be what was recorded"
    (original_end,) = original.all(End)
    assert end.receipt.total_ms < original_end.receipt.total_ms
    assert took < 10


async def test_the_commands_record_and_play(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "data", **SIM) as gateway, listening_client(gateway) as listener:
        session = (await listener.start(HATCH)).session
        status, out, err = await run_hatchery("tape", session, "--url", gateway.url, cwd=tmp_path)
        (artifact,) = listener.all(Artifact)
    assert status == 0, err
    await trio.Path(tmp_path / "hatch.tape").write_text(out)
    played = ("--llm", "tape:hatch.tape", "--image", "tape:hatch.tape", "--out", "owl")
    status, _, err = await run_hatchery("hatch", "x", *played, cwd=tmp_path, environ={"HATCHERY_TAPE_SPEED": "20"})
    assert (status, err) == (0, "")
    picture = await trio.Path(tmp_path / "owl" / "avatar.png").read_bytes()
    assert sha256(picture).hexdigest() == artifact.sha256
    damaged = out.replace('"epoch":1', '"epoch":"1"', 1)
    await trio.Path(tmp_path / "hatch.tape").write_text(damaged)
    status, _, err = await run_hatchery("hatch", "x", *played, cwd=tmp_path)
    assert status == 2
    assert err.startswith("hatchery: llm.engine: hatch.tape is no tape: line 2: ")


async def test_a_tape_holds_all_that_was_told_but_no_url_that_lets_others_in(tmp_path: Path) -> None:
    data, listener, session = await recorded(tmp_path)
    tape = read_tape(data)
    assert tape.header.prompt == HATCH.prompt
    assert tape.header.timing == "live"
    assert b"signature" not in data
    assert isinstance(tape.messages[0][1], Snapshot)
    assert isinstance(tape.messages[-1][1], End)
    assert all(before <= after for (before, _), (after, _) in pairwise(tape.messages))
    assert "".join(m.delta for _, m in tape.messages if isinstance(m, Text)) == "".join(
        m.delta for m in listener.all(Text, session)
    )
    assert tape.picture is not None


async def test_of_a_hatch_that_is_over_the_words_and_the_picture_are_kept_and_that_is_said(tmp_path: Path) -> None:
    data, original, _ = await recorded(tmp_path / "one", after_the_end=True)
    tape = read_tape(data)
    assert tape.header.timing == "none"
    assert tape.picture is not None
    file = tmp_path / "hatch.tape"
    file.write_bytes(data)
    again, _ = await replayed(tmp_path / "two", file, 1.0)
    assert again.all(PersonaReady)[0].persona == original.all(PersonaReady)[0].persona
    assert again.all(Artifact)[0].sha256 == original.all(Artifact)[0].sha256


async def test_without_a_picture_a_plain_one_of_the_same_size_stands_in(tmp_path: Path) -> None:
    data, original, _ = await recorded(tmp_path / "one", picture=False)
    file = tmp_path / "hatch.tape"
    file.write_bytes(data)
    again, _ = await replayed(tmp_path / "two", file, 50.0)
    (picture,), (stand_in,) = original.all(Artifact), again.all(Artifact)
    assert stand_in.sha256 != picture.sha256
    assert (stand_in.width, stand_in.height) == (picture.width, picture.height)


async def test_a_session_that_is_not_there_cannot_be_recorded(tmp_path: Path) -> None:
    said: list[str] = []
    async with running_gateway(tmp_path) as gateway:
        order = Order(session="0" * 20, url=gateway.url, token=None, picture=True)
        assert await record(order, io.BytesIO(), said.append) == 1
    assert said == ["no such session"]


async def test_no_gateway_no_tape() -> None:
    said: list[str] = []
    order = Order(session="0" * 20, url="http://127.0.0.1:9", token=None, picture=True)
    assert await record(order, io.BytesIO(), said.append) == 1
    assert len(said) == 1


def test_a_damaged_tape_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.tape"
    file.write_bytes(b'{"tape": 7}\n')
    with pytest.raises(ConfigError, match=r"image.engine: .*a\.tape is no tape: line 1: "):
        load_tape(f"tape:{file}", "image.engine")
    with pytest.raises(ConfigError, match=r"llm.engine: .*b\.tape cannot be read: No such file"):
        load_tape(f"tape:{tmp_path / 'b.tape'}", "llm.engine")


def test_a_tape_is_found_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "a.tape"
    file.write_bytes(TAPE)
    tape: Tape = load_tape(f"tape:{file}", "llm.engine")
    assert tape.header.session == "s"


TAPE = (
    b'{"tape":1,"session":"s","prompt":"p","timing":"live","server":"h","engines":{"llm":"sim","image":"sim"}}\n'
    b'[0.0,{"type":"snapshot","session":"s","epoch":1,"seq":0,"offset":0,"state":"queued","attempt":1,"prompt":"p",'
    b'"persona":{},"artifacts":[]}]\n'
)
