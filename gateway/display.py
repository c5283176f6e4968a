"""What `hatchery hatch` shows: a persona growing over one honest bar, or plain lines, or JSON for programs."""

import re
from types import TracebackType
from typing import Any, Final, Protocol, TextIO

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text as Styled

from protocol.events import End, PersonaReady, Progress, ServerMessage, Snapshot, State, Text
from protocol.persona import extend

_SHOWN: Final = ("tagline", "traits", "backstory", "greeting", "palette", "system_prompt", "avatar_prompt")
_BAR_WIDTH: Final = 40
_COLOUR: Final = re.compile("#[0-9a-fA-F]{6}")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_RAW_IN_JSON: Final = re.compile("[\x7f-\x9f]")  # JSON escapes only the controls below
_REFRESHES: Final = 12  # a second


def harmless(text: str) -> str:
    """The text without what a terminal would obey; line ends and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


class Display(Protocol):
    """Shows messages as they come, between entering and leaving."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, message: ServerMessage) -> None:
        """One message of the gateway."""

    def say(self, text: str) -> None:
        """A word of our own."""


class JsonLines:
    """Every message as one line of JSON, for programs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, message: ServerMessage) -> None:
        """See Display."""
        line = msgspec.json.encode(message).decode()
        self._out.write(_RAW_IN_JSON.sub(lambda control: f"\\u{ord(control[0]):04x}", line) + "\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """Nothing: the messages say it all."""


class PlainLines:
    """One line per state, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, message: ServerMessage) -> None:
        """See Display."""
        if isinstance(message, Progress) and message.message != self._said:
            self._said = message.message
            self.say(f"{message.percent:5.1f} %  {message.message}")

    def say(self, text: str) -> None:
        """See Display."""
        self._console.print(Styled(harmless(text)), soft_wrap=True)


class LiveDisplay:
    """The persona as it is written, over the bar; what stands there at the end stays."""

    def __init__(self, console: Console, prompt: str) -> None:
        self._console = console
        self._prompt = prompt
        self._persona: dict[str, Any] = {}
        self._progress: Progress | None = None
        self._state = "queued"
        self._over = False
        self._live = Live(console=console, get_renderable=self.__rich__, refresh_per_second=_REFRESHES)

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._live.vertical_overflow = "visible"
        self._live.__exit__(kind, error, trace)

    def show(self, message: ServerMessage) -> None:
        """See Display."""
        match message:
            case Snapshot():
                self._persona, self._state = message.persona, message.state
                self._progress = message.progress or None
            case Text(path=path, delta=delta):
                extend(self._persona, path, delta)
            case PersonaReady(persona=persona):
                self._persona = msgspec.to_builtins(persona)
            case Progress():
                self._progress = message
            case State(state=state) | End(outcome=state):
                self._state = state
            case _:
                pass

    def say(self, text: str) -> None:
        """See Display."""
        self._console.print(Styled(harmless(text)), soft_wrap=True)

    def __rich__(self) -> RenderableType:
        layout = Group if self._over else _Fitted
        return layout(self._card(), self._bar())

    def _card(self) -> RenderableType:
        fields = Table.grid(padding=(0, 2))
        fields.add_column(style="dim", no_wrap=True)
        fields.add_column(overflow="fold")
        for name in _SHOWN:
            if name in self._persona:
                fields.add_row(name.replace("_", " "), _field(name, self._persona[name]))
        title = Styled(harmless(self._persona.get("name", "…")), style="bold")
        if species := self._persona.get("species"):
            title.append(f", {harmless(species)}", style="not bold italic")
        subtitle = Styled(harmless(self._prompt), style="dim", overflow="ellipsis", no_wrap=True)
        return Panel(fields, title=title, subtitle=subtitle, border_style="cyan")

    def _bar(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Styled("  …")
        width = min(_BAR_WIDTH, self._console.width // 3)
        bar = ProgressBar(total=100, completed=progress.percent, width=width)
        line = Table.grid(padding=(0, 1))
        line.add_row(f"{progress.percent:5.1f} %", bar, progress_words(progress, self._state))
        return line


class _Fitted:
    """A card over a bar that must stay in sight: of a card too high for the window, the title and the latest lines."""

    def __init__(self, card: RenderableType, bar: RenderableType) -> None:
        self._card = card
        self._bar = bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        card = console.render_lines(self._card, options)
        bar = console.render_lines(self._bar, options)
        room = max(1, console.height - len(bar) - 1)
        if len(card) > room:
            card = [card[0], *card[len(card) - room + 1 :]]
        for line in (*card, *bar):
            yield from line
            yield Segment.line()


def progress_words(progress: Progress, state: str) -> Styled:
    """Stage, speed and time left, and how that is known."""
    if state in ("cancelling", "cancelled", "failed"):
        return Styled(state.capitalize())
    words = Styled(harmless(progress.message))
    if progress.step_s is not None:
        words.append(f" · {progress.step_s:.2g} s a step", style="dim")
    if progress.eta_s is not None:
        likely, at_worst = (f"{seconds:.0f}" for seconds in progress.eta_s)
        words.append(f" · {likely if likely == at_worst else f'{likely}-{at_worst}'} s left", style="dim")
    if progress.basis != "measured":
        words.append(f" · {progress.basis}", style="dim yellow")
    return words


def _field(name: str, value: str | list[str]) -> RenderableType:
    if isinstance(value, str):
        return Styled(harmless(value))
    if name != "palette":
        return Styled(harmless(", ".join(value)))
    swatches = Styled()
    for colour in value:
        if _COLOUR.fullmatch(colour):
            swatches.append("██", style=colour)
        swatches.append(f"{harmless(colour)} ")
    return swatches
