"""Finds the one JSON object in what a model says: around it there may be reasoning, prose and code fences."""

from typing import Final

OPEN_THINK: Final = "<think>"
CLOSE_THINK: Final = "</think>"
_RAW: Final = {"\n": "\\n", "\t": "\\t"}  # forbidden bare inside a JSON string, yet small models write them


class Unwrapper:
    """Splits raw pieces, cut anywhere, into reasoning and the text of the first JSON object.

    The object opens at the first `{` outside `<think>` that is followed, after white space, by `"` (prose may hold
    other braces), and ends at its own closing brace; what follows is dropped. Bare newlines and tabs in its strings
    are escaped.
    """

    def __init__(self) -> None:
        self._held = ""  # outside the object: a tail that may turn out to be a tag or the opening brace
        self._thinking = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.complete = False

    @property
    def begun(self) -> bool:
        """Whether the object has opened."""
        return self._depth > 0 or self.complete

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning and the object's text that this piece adds."""
        thought = ""
        if not self.begun:
            thought, text = self._search(self._held + text)
        return thought, self._follow(text)

    def _search(self, text: str) -> tuple[str, str]:
        """Consume what lies before the object: (reasoning, the rest from the opening brace on)."""
        thoughts: list[str] = []
        self._held = ""
        while text:
            if self._thinking:
                inside, found, text = text.partition(CLOSE_THINK)
                if found:
                    self._thinking = False
                else:
                    self._held = _tail(inside, CLOSE_THINK)
                thoughts.append(inside[: len(inside) - len(self._held)])
                continue
            at = min((i for i in (text.find("{"), text.find("<")) if i >= 0), default=len(text))
            text = text[at:]
            if text.startswith(OPEN_THINK):
                self._thinking, text = True, text[len(OPEN_THINK) :]
            elif text.startswith("{") and text[1:].lstrip().startswith('"'):
                return "".join(thoughts), text
            elif OPEN_THINK.startswith(text) or (text.startswith("{") and not text[1:].strip()):
                self._held, text = text, ""  # undecided
            else:
                text = text[1:]
        return "".join(thoughts), ""

    def _follow(self, text: str) -> str:
        """The part of `text` that still belongs to the object."""
        kept: list[str] = []
        for c in text:
            if self.complete:
                break
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif c == "\\":
                    self._escaped = True
                elif c == '"':
                    self._in_string = False
                else:
                    c = _RAW.get(c, c)
            elif c == '"':
                self._in_string = True
            elif c in "{[":
                self._depth += 1
            elif c in "}]":
                self._depth -= 1
                self.complete = self._depth == 0
            kept.append(c)
        return "".join(kept)


class PromptedThinking:
    """Finds the end of reasoning whose opening tag stands in the prompt, where some chat templates put it.

    Whatever comes before a first closing tag, without an opening one before it, was reasoning: braces and all.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._tail = ""  # may hold the beginning of a tag
        self._settled = False

    def feed(self, text: str) -> tuple[str | None, str]:
        """(None, the piece), or with the piece that ends it (all the reasoning, what follows the tag)."""
        if self._settled:
            return None, text
        self._pieces.append(text)
        seen = self._tail + text
        self._tail = seen[1 - len(CLOSE_THINK) :]
        opens, closes = seen.find(OPEN_THINK), seen.find(CLOSE_THINK)
        if opens < 0 and closes < 0:
            return None, text
        self._settled = True
        whole = "".join(self._pieces)
        self._pieces.clear()
        if 0 <= opens < closes or closes < 0:
            return None, text
        thought, _, rest = whole.partition(CLOSE_THINK)
        return thought, rest


def _tail(text: str, tag: str) -> str:
    """The longest end of `text` that may be the beginning of `tag`."""
    return next((tag[:n] for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), "")
