"""tqdm's bars, read back from what it draws: whole, coloured, cut by a narrow window or by the end of a read."""

import re
from collections import deque
from typing import Final, Literal

import msgspec

from protocol.terminal import TerminalReader

Role = Literal["steps", "download", "decode", "save", "load", "other"]

BARS_LIMIT: Final = 32
"""Bars that are remembered; the one not drawn for longest is forgotten first."""

# Formats: `tqdm.std.tqdm.format_meter` with a total (_PERCENT) and without (_COUNTER), and in huggingface_hub
# XET_BYTES_BAR_FORMAT (_PERCENT, or _GAUGE while there is no total) and XET_TRANSFER_BAR_FORMAT (_GAUGE).
# Every quantifier is bounded or possessive, so the time is linear in the length of the text.
_NUMBER: Final = r"\d{1,18}+(?:\.\d{1,18}+)?+"
_SCALED: Final = rf"{_NUMBER}[kMGTPEZY]?+"
_CLOCK: Final = r"-?(?:\d{1,6}:)?\d\d:\d\d"

# Behind the head: what is there of it, and the rest of the frame as far as it is shown; together they match anything.
# A number counts once the character after it is there: `1/6` may be the beginning of `1/60`.
_DONE: Final = rf" {{0,6}}(?P<done>{_SCALED})(?=[^\d.])[^\s\d/]{{0,32}}+"
_TOTAL: Final = rf" ?/ {{0,6}}(?:(?P<total>{_SCALED})(?P<delimited>(?=[B ]))?B?|\?)"
_TIMES: Final = rf" \[{_CLOCK}(?=[<,])(?:<(?:{_CLOCK}(?=,)|\?))?"
_UNIT: Final = r"[^\s\d/,\[\]]{0,32}+"
_RATE: Final = rf", {{1,6}}(?:{_SCALED}|\?{{1,3}})(?:s/{_UNIT}|{_UNIT}/s)"
_CUT: Final = r"(?: \[)?[<,:/ \d.?]{0,24}+(?:[kMGTPEZY]?B?$)?"
_END: Final = rf"\]|, [^\[\]]{{0,200}}+(?:\]|$)|{_CUT}"
_COUNTS: Final = rf"(?:{_DONE}(?:{_TOTAL})?)?(?:{_TIMES})?(?:{_RATE})?(?:{_END})"

# One pattern a format, heads before counts, since a frame is matched several times faster in one go than in parts.
_DESCRIPTION: Final = r"(?P<description>.{0,300}?): "
_PERCENT: Final = re.compile(
    rf"(?:{_DESCRIPTION})??(?P<percent>  \d| \d\d|\d\d\d)%"
    rf"(?:\|[^|]{{0,2000}}+\||\|[^|a-zA-Z]{{0,2000}}+$|(?= {_SCALED}/)){_COUNTS}"
)
_GAUGE: Final = re.compile(rf"{_DESCRIPTION}\|?[ █-▏#]{{1,2000}}+\|(?= {{0,6}}{_SCALED}B){_COUNTS}")
_COUNTER: Final = re.compile(rf"(?:{_DESCRIPTION})??(?={_SCALED}[^\s\d/]{{0,32}}+ \[{_CLOCK}, ){_COUNTS}")

_FACTORS: Final = {prefix: 1000**power for power, prefix in enumerate("kMGTPEZY", start=1)}
_ROLES: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (re.compile(r"(?:\[dry-run\] )?Fetching \d{1,9} files|Download|Reconstruct"), "download"),
    (re.compile(r"PiD decode|Decoding"), "decode"),
    (re.compile(r"Saving|Writing"), "save"),
    (re.compile(r"Loading"), "load"),
    (re.compile(r"\S{1,300}\.[A-Za-z]\w{0,12}$"), "download"),  # a file's name, as huggingface_hub shows it
)


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of a bar; None stands for what it does not show, or shows cut off.

    `done` and `total` are whole units (`1.2G` is 1,200,000,000), `percent` is 0-100 as drawn, `description` is "" if
    there is none. Its times are not read: they are running averages, and each frame is timed as it arrives.
    """

    description: str
    done: int | None = None
    total: int | None = None
    percent: int | None = None


class BarEvent(msgspec.Struct, frozen=True):
    """A bar has moved.

    `number` counts the bars from 1; one that begins again (another total, or less done) is a new one.
    """

    bar: Bar
    role: Role
    number: int


class Line(msgspec.Struct, frozen=True):
    """A finished line that is no bar, without escape sequences and trailing blanks."""

    text: str


class BarReader:
    """Turns a terminal's output into the movements of its bars and the lines between them.

    Bars are told apart by row and description. Of each bar only the last frame of a read is reported, and only if its
    counts or percent differ from those reported before; of lines, each is. `keep_lines` bounds `last_lines`.
    """

    def __init__(self, *, keep_lines: int = 40) -> None:
        self._terminal = TerminalReader()
        self._lines: deque[str] = deque(maxlen=keep_lines)
        self._scrolled = 0  # rows that finished lines have pushed the bars down
        self._bars: list[tuple[int, BarEvent]] = []  # (row, newest frame), the one drawn last at the end
        self._count = 0
        self._drawn_tail = ""  # an unfinished frame that is drawn already, and comes again when the next one ends it

    @property
    def bars(self) -> tuple[BarEvent, ...]:
        """The newest frame of each remembered bar; the one drawn last at the end."""
        return tuple(event for _, event in self._bars)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The newest lines, oldest first, and what stands unfinished behind them: for quoting in an error."""
        tail = self._terminal.tail
        unfinished = _log_text(tail.text) if tail else ""
        return (*self._lines, unfinished) if unfinished else tuple(self._lines)

    def feed(self, data: bytes) -> list[BarEvent | Line]:
        """Take the bytes of one read and return what happened, in the order in which it was last drawn."""
        newest: dict[tuple[int, str | None], re.Match[str] | Line] = {}  # by row and description, or number and None
        for segment in self._terminal.feed(data):
            drawn, self._drawn_tail = self._drawn_tail, ""
            if segment.text == drawn and segment.ended == "frame":
                continue
            frame = _frame(segment.text)
            if frame is not None:
                key = (segment.row - self._scrolled, frame["description"] or "")
                newest.pop(key, None)
                newest[key] = frame
            if segment.ended == "line" and (line := _log_text(segment.text)):
                self._scrolled += 1
                self._lines.append(line)
                newest[self._scrolled, None] = Line(line)
        events: list[BarEvent | Line] = []
        for (row, _), found in newest.items():
            if isinstance(found, Line):
                events.append(found)
            else:
                events += self._draw(row, _bar(found))
        events += self._draw_tail()
        if len(events) < 2:
            return events
        last = {event.number: event for event in events if isinstance(event, BarEvent)}
        return [event for event in events if isinstance(event, Line) or event is last[event.number]]

    def _draw_tail(self) -> list[BarEvent]:
        """tqdm writes its carriage return first, so the unfinished frame is the newest one."""
        tail = self._terminal.tail
        bar = parse_bar(tail.text) if tail else None
        if tail is None or bar is None or bar.done is None or (bar.total is None and bar.percent is not None):
            return []  # no bar, or one whose counts the read may have cut
        self._drawn_tail = tail.text
        return self._draw(tail.row - self._scrolled, bar)

    def _draw(self, row: int, bar: Bar) -> list[BarEvent]:
        """Remember a frame; report it if it shows progress, not merely another time or a second copy."""
        known = self._known(row, bar)
        if known is None:
            self._count += 1
            event = BarEvent(bar, _role(bar.description), self._count)
            self._bars = [kept for kept in self._bars if not _is_replaced(*kept, row, bar)]
        else:
            event = BarEvent(bar, known[1].role, known[1].number)
            self._bars.remove(known)
        self._bars = [*self._bars[1 - BARS_LIMIT :], (row, event)]
        return [] if known is not None and _progress(known[1].bar) == _progress(bar) else [event]

    def _known(self, row: int, bar: Bar) -> tuple[int, BarEvent] | None:
        """The remembered bar that goes on in `bar`: on its row or, since closing moves and repeats bars, on another."""
        going_on = [known for known in reversed(self._bars) if _goes_on(known[1].bar, bar)]
        if len(going_on) == 1:
            return going_on[0]
        return min(
            going_on, key=lambda known: (known[0] != row, _progress(known[1].bar) != _progress(bar)), default=None
        )


def parse_bar(text: str) -> Bar | None:
    """The frame of a bar with which `text` (without escape sequences) begins, or None; linear in the text's length."""
    frame = _frame(text)
    return None if frame is None else _bar(frame)


def _frame(text: str) -> re.Match[str] | None:
    """The frame, as far as it is shown; the searches for single characters spare most lines the patterns."""
    return (
        ("%" in text and _PERCENT.match(text))
        or ("|" in text and _GAUGE.match(text))
        or (" [" in text and _COUNTER.match(text))
        or None
    )


def _bar(frame: re.Match[str]) -> Bar:
    description, done = frame.group("description", "done")
    percent = frame["percent"] if frame.re is _PERCENT else None
    count = None if done is None else _number(done)
    return Bar(
        description=(description or "").strip(),
        done=None if count is None else round(count),
        total=None if count is None else _total(frame, count, percent),
        percent=int(percent) if percent else None,
    )


def _log_text(text: str) -> str:
    """What of a line is no bar: all of it, or what a log wrote behind the frame that stood there; "" for nothing."""
    frame = _frame(text)
    return (text if frame is None else text[frame.end() :]).rstrip()


def _role(description: str) -> Role:
    if not description:
        return "steps"
    return next((role for pattern, role in _ROLES if pattern.match(description)), "other")


def _goes_on(known: Bar, bar: Bar) -> bool:
    """Whether both can be frames of one bar: nothing fell, and the total stays (a download's may still grow)."""
    if known.description != bar.description:
        return False
    if known.done is None or bar.done is None:
        return (known.percent or 0) <= (bar.percent or 0)
    if known.total is None or bar.total is None or known.total == bar.total:
        return known.done <= bar.done
    return _role(bar.description) == "download" and known.done <= bar.done and known.total < bar.total


def _is_replaced(known_row: int, known: BarEvent, row: int, bar: Bar) -> bool:
    """Whether a new bar takes a remembered one's place: of the same description, on its row or after its end."""
    ended = known.bar.done is not None and known.bar.done == known.bar.total
    return known.bar.description == bar.description and (ended or known_row == row)


def _progress(bar: Bar) -> tuple[int | None, int | None, int | None]:
    return bar.done, bar.total, bar.percent


def _total(frame: re.Match[str], done: float, percent: str | None) -> int | None:
    """The total, if there is one (0 is tqdm's for "unknown yet") and a cut has not shortened it.

    Without the character after it, the percent has to confirm it: losing a digit makes a tenfold difference.
    """
    total = _number(frame["total"] or "0")
    share = int(percent or 0)
    confirmed = frame["delimited"] is not None or (share and total and abs(100 * done / total - share) <= 1)
    return round(total) if total and confirmed else None


def _number(text: str) -> float:
    """The value of a count as tqdm's `format_sizeof` writes it, exact for a plain integer below 2^53."""
    factor = _FACTORS.get(text[-1])
    return float(text) if factor is None else float(text[:-1]) * factor
