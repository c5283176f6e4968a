"""Turns a model's raw output, as it streams, into growing persona fields and at last a persona that equals them."""

import re
import unicodedata
from typing import Any, Final

import jiter

from actors.llm.unwrap import PromptedThinking, Unwrapper
from protocol.errors import PersonaInvalid
from protocol.mail import PersonaRejected, TextGrew, ThoughtGrew
from protocol.persona import LIST_FIELDS, STRING_FIELDS, Persona, persona_schema, persona_strings, validate_persona

MAX_CHARS: Final = 65_536  # of raw output: ten times the largest sensible persona, reasoning included

_SCHEMA: Final = persona_schema()["properties"]
_COLOUR_SO_FAR: Final = re.compile(r"#[0-9a-fA-F]{0,6}")


class Draft:
    """One answer of a model, fed in pieces that may be cut anywhere.

    What `feed` shows is never taken back within one draft, unless it turns out that the model was still thinking, which
    PersonaRejected says: the persona that `finish` returns equals the concatenated deltas since. Whatever would break
    that, or can no longer become valid, raises PersonaInvalid as soon as it is known.
    """

    def __init__(self) -> None:
        self._prompted = PromptedThinking()
        self._unwrapper = Unwrapper()
        self._fed = 0
        self._json = bytearray()
        self._shown: dict[str, str] = {}

    @property
    def answer(self) -> str:
        """The object's text so far."""
        return self._json.decode()

    def feed(self, text: str) -> list[TextGrew | ThoughtGrew | PersonaRejected]:
        """What the piece makes visible, in the order in which it was written. Raises PersonaInvalid."""
        self._fed += len(text)
        if self._fed > MAX_CHARS:
            raise PersonaInvalid(f"the answer is longer than {MAX_CHARS} characters")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PersonaInvalid("the answer holds half a surrogate pair") from error
        grown: list[TextGrew | ThoughtGrew | PersonaRejected] = []
        thought_so_far, text = self._prompted.feed(text)
        if thought_so_far is not None:
            grown += self._begin_anew(thought_so_far)
        thought, json = self._unwrapper.feed(text)
        if thought:
            grown.append(ThoughtGrew(delta=thought))
        if json:
            self._json += json.encode()
            grown += self._grow()
        return grown

    def _begin_anew(self, thought: str) -> list[ThoughtGrew | PersonaRejected]:
        """All before was thinking, whatever it looked like."""
        taken_back = [PersonaRejected(reason="The model was still thinking")] if self._shown else []
        self._unwrapper = Unwrapper()
        self._json.clear()
        self._shown.clear()
        return [*taken_back, *([ThoughtGrew(delta=thought)] if thought else [])]

    def finish(self) -> Persona:
        """The complete persona. Raises PersonaInvalid, naming field and bound where there is one."""
        if not self._unwrapper.begun:
            raise PersonaInvalid("the answer holds no JSON object")
        if not self._unwrapper.complete:
            raise PersonaInvalid("the JSON object is not closed")
        persona = validate_persona(self._parse())
        if dict(persona_strings(persona)) != self._shown:
            raise PersonaInvalid("the persona is not what was shown while it was written")
        return persona

    def _parse(self) -> Any:
        try:
            return jiter.from_json(bytes(self._json), partial_mode="trailing-strings", catch_duplicate_keys=True)
        except ValueError as error:
            raise PersonaInvalid(f"the answer is not valid JSON: {error}") from error

    def _grow(self) -> list[TextGrew]:
        deltas: list[TextGrew] = []
        for name, value in self._parse().items():
            if name in STRING_FIELDS:
                self._extend(f"/{name}", value, deltas)
            elif name in LIST_FIELDS:
                items = _bounded_list(name, value)
                if "" in items[:-1]:
                    path = f"/{name}/{items.index('')}"
                    raise PersonaInvalid(f"{path} is empty", field=path)
                for i, item in enumerate(items):
                    self._extend(f"/{name}/{i}", item, deltas)
        return deltas

    def _extend(self, path: str, value: Any, deltas: list[TextGrew]) -> None:
        """Show what is new of the string at `path`."""
        if not isinstance(value, str):
            raise PersonaInvalid(f"{path} is not a string", field=path)
        shown = self._shown.get(path, "")
        if len(value) == len(shown):  # nothing new: a JSON text only ever extends its strings
            return
        delta = value[len(shown) :]
        _check_string(path, value, delta)
        self._shown[path] = value
        deltas.append(TextGrew(path=path, delta=delta))


def _bounded_list(name: str, value: Any) -> list[Any]:
    most = _SCHEMA[name]["maxItems"]
    if not isinstance(value, list):
        raise PersonaInvalid(f"/{name} is not a list", field=f"/{name}")
    if len(value) > most:
        raise PersonaInvalid(f"/{name} has more than {most} items", field=f"/{name}")
    return value


def _check_string(path: str, value: str, delta: str) -> None:
    """Raise PersonaInvalid if `value`, which just grew by `delta`, can no longer become valid."""
    name = path.split("/")[1]
    bounds = _SCHEMA[name].get("items", _SCHEMA[name])
    most = bounds.get("maxLength")
    if most is not None and len(value) > most:
        raise PersonaInvalid(f"{path} is longer than {most} characters", field=path)
    if name == "palette" and not _COLOUR_SO_FAR.fullmatch(value):
        raise PersonaInvalid(f"{path} is not a colour of the form #rrggbb", field=path)
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in delta):
        raise PersonaInvalid(f"{path} holds a control character", field=path)
