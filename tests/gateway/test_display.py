import io
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
from rich.console import Console

from gateway.display import JsonLines, LiveDisplay, PlainLines, harmless
from protocol.events import (
    Basis,
    End,
    Engines,
    Error,
    PersonaReady,
    Progress,
    Receipt,
    ServerMessage,
    Snapshot,
    State,
    Text,
    Thinking,
)
from tests.helpers.gateways import PERSONA

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\x90q\x7f\r[bold red]markup[/] [/nonsense]"


def _console(width: int = 80, *, terminal: bool = False) -> Console:
    colours: Literal["truecolor"] | None = "truecolor" if terminal else None
    return Console(file=io.StringIO(), width=width, height=24, force_terminal=terminal, color_system=colours)


def _output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _progress(percent: float = 42.0, *, basis: Basis = "measured", message: str = "Drawing", **more: Any) -> Progress:
    return Progress(session="s", percent=percent, stage="steps", basis=basis, message=message, **more)


def _snapshot(persona: dict[str, Any], prompt: str = "p") -> Snapshot:
    return Snapshot(
        session="s", epoch=1, seq=1, offset=0, state="writing", attempt=1, prompt=prompt, persona=persona, artifacts=[]
    )


def _left(messages: Sequence[ServerMessage], *, width: int = 80, terminal: bool = False, prompt: str = "an owl") -> str:
    """What a live display leaves behind; without a terminal that is its last picture, plain."""
    console = _console(width, terminal=terminal)
    display = LiveDisplay(console, prompt)
    with display:
        for message in messages:
            display.show(message)
    return _output(console)


def test_a_persona_grows_where_its_paths_point() -> None:
    texts = [("/name", "Wr"), ("/name", "en"), ("/species", "owl"), ("/traits/0", "ca"), ("/traits/0", "lm")]
    texts += [("/traits/1", "odd"), ("/palette/0", "#11"), ("/backstory", "Once, "), ("/backstory", "folded.")]
    left = _left([Text(session="s", offset=0, path=path, delta=delta) for path, delta in texts])
    for shown in ("Wren, owl", "calm, odd", "#11", "Once, folded.", "an owl"):
        assert shown in left


def test_a_snapshot_and_the_ready_persona_replace_what_was_shown() -> None:
    old = Text(session="s", offset=0, path="/name", delta="Nobody")
    left = _left(
        [old, _snapshot({"name": "Wr", "traits": ["shy"]}), Text(session="s", offset=2, path="/name", delta="en")]
    )
    assert "Nobody" not in left
    assert "Wren" in left
    assert "shy" in left
    ready = _left([old, PersonaReady(session="s", seq=2, persona=PERSONA)])
    assert "Nobody" not in ready
    for value in (PERSONA.name, PERSONA.species, PERSONA.tagline, PERSONA.greeting, *PERSONA.traits, *PERSONA.palette):
        assert value in ready


def test_what_is_measured_can_be_told_from_what_is_not() -> None:
    measured = _left([_progress(step=3, steps=8, step_s=2.5, eta_s=(10.0, 14.0))], width=100)
    assert "42.0 %" in measured
    assert "2.5 s a step" in measured
    assert "10-14 s left" in measured
    assert "estimated" not in measured
    assert "indeterminate" not in measured
    assert "· estimated" in _left([_progress(basis="estimated")])
    assert "· indeterminate" in _left([_progress(basis="indeterminate")])


def test_cancelling_is_shown_at_once() -> None:
    left = _left([_progress(message="Drawing"), State(session="s", seq=3, state="cancelling")])
    assert "Cancelling" in left
    assert "Drawing" not in left


def test_how_it_ended_is_what_stays() -> None:
    receipt = Receipt(
        queued_ms=0, writing_ms=0, waiting_ms=0, drawing_ms=0, total_ms=0, steps_done=0, steps=8,
        worker="none", llm="closed", engines=Engines(llm="sim", image="sim"),
    )  # fmt: skip
    state = State(session="s", seq=3, state="cancelling")
    left = _left([_progress(step_s=1.0), state, End(session="s", seq=4, outcome="cancelled", receipt=receipt)])
    assert "Cancelled" in left
    assert "Cancelling" not in left
    assert "a step" not in left


def test_an_eta_without_a_range_is_one_number() -> None:
    assert "· 1 s left" in _left([_progress(eta_s=(1.0, 1.2))])


def _hostile_messages() -> list[ServerMessage]:
    names = ("/name", "/species", "/tagline", "/traits/0", "/backstory", "/palette/0")
    return [
        _snapshot({"name": HOSTILE, "palette": [HOSTILE, "#zzzzzz"], "backstory": HOSTILE}, prompt=HOSTILE),
        *(Text(session="s", offset=0, path=path, delta=HOSTILE) for path in names),
        Thinking(session="s", delta=HOSTILE),
        _progress(message=HOSTILE),
    ]


def test_no_text_can_command_the_terminal() -> None:
    left = _left(_hostile_messages(), terminal=True, prompt=HOSTILE)
    for command in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\x90", "\x7f"):
        assert command not in left
    console = _console(terminal=True)
    for display in (PlainLines(console), LiveDisplay(console, "p")):
        display.show(_progress(message=HOSTILE))
        display.say(HOSTILE)
    said = _output(console)
    for command in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\x90", "\x7f"):
        assert command not in said


def test_markup_is_shown_as_it_stands() -> None:
    left = _left(_hostile_messages(), width=200)
    assert "[bold red]markup[/] [/nonsense]" in left
    console = _console(200)
    PlainLines(console).say("[bold red]markup[/] [/nonsense] :smile:")
    assert _output(console) == "[bold red]markup[/] [/nonsense] :smile:\n"


def test_harmless_text_keeps_everything_but_commands() -> None:
    assert harmless("tab\tline\nümläut 🐉 \u202e") == "tab\tline\nümläut 🐉 \u202e"
    assert harmless("\x1b[2J\r\0\x85\ud83d") == "\ufffd[2J\ufffd\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("width", [50, 80])
def test_the_bar_and_the_latest_words_stay_in_sight_and_in_the_end_all_is_shown(width: int) -> None:
    console = _console(width, terminal=True)
    display = LiveDisplay(console, "an owl")
    first, last = "The first words.", "The latest words."
    with display:
        display.show(_snapshot({"name": "Wren", "backstory": first + " And on." * 400}))
        display.show(Text(session="s", offset=0, path="/backstory", delta=" " + last))
        display.show(_progress(12.0, message="Writing the persona"))
        window = _console(width)
        window.print(display._live.get_renderable())
        shown = _output(window)
        assert len(shown.splitlines()) < window.height
        for piece in ("Wren", last, " 12.0 %", "Writing the persona"):
            assert piece in shown
        assert first not in shown
    assert first in _output(console).rpartition("Wren")[2]


@pytest.mark.parametrize("width", [10, 20, 50, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    progress = _progress(100.0, message="Drawing the picture", step_s=12.5, eta_s=(100.0, 140.0), basis="estimated")
    left = _left([PersonaReady(session="s", seq=2, persona=PERSONA), progress], width=width, prompt="an owl " * 40)
    assert max(map(len, left.splitlines())) <= width
    if width >= 50:
        assert "100.0 %" in left
        assert "estimated" in left.replace("\n", "").replace(" ", "")


def test_plain_lines_say_each_thing_once_and_never_wrap() -> None:
    console = _console(40)
    lines = PlainLines(console)
    with lines:
        for percent in (1.0, 2.0):
            lines.show(_progress(percent, message="Writing"))
        lines.show(_progress(60.0, message="Step 3 of 8"))
        lines.say("x" * 100)
    assert _output(console).splitlines() == ["  1.0 %  Writing", " 60.0 %  Step 3 of 8", "x" * 100]


def test_json_lines_are_the_messages_themselves_and_harmless() -> None:
    out = io.StringIO()
    display = JsonLines(out)
    messages = [*_hostile_messages(), Error(code="invalid", message=HOSTILE, retryable=False)]
    with display:
        for message in messages:
            display.show(message)
        display.say("not for programs")
    lines = out.getvalue().splitlines()
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for line in lines for c in line)
    assert [msgspec.json.decode(line) for line in lines] == [msgspec.to_builtins(message) for message in messages]
