"""What a swarm is to do, from a TOML file or one of the built-in profiles; everything in it is bounded."""

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Span = tuple[Seconds, Seconds]
Wire = Literal["json", "msgpack", "both"]

BUILT_IN: Final = "profiles"


class ProfileError(Exception):
    """A profile that cannot be; the message says which, and what is allowed."""


class Engines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gateway that the tool starts is told of its engines; a gateway elsewhere has its own."""

    tokens_per_s: Annotated[float, Meta(gt=0, le=1e6)] = 40.0
    """Tokens a second of the simulated writer, four to a piece: each is a text and a progress."""
    tokens: Annotated[int, Meta(ge=80, le=400)] = 150
    """Tokens of a simulated persona."""
    steps: Annotated[int, Meta(ge=1, le=1000)] = 8
    """Steps of a simulated picture."""
    step_s: Seconds = 0.25
    """Seconds of a step."""
    jitter: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    """How far durations vary, as a share."""
    failures: Share = 0.0
    """The share of pictures that fail."""
    slots: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Hatches that are written, and drawn, at a time; 0: all of them."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One swarm; spans are [least, most] seconds, shares are drawn from the seed."""

    about: str = ""
    """What it is for, in a line."""
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 4
    """WebSockets of the swarm."""
    sessions_per_connection: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Hatches that a connection runs at a time."""
    sessions: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    """Hatches that are started in all, at the most."""
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = 10.0
    """Seconds for which hatches are started."""
    finish_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds that hatches may then take to end; in the second half what still runs is cancelled."""
    arrival: Literal["burst", "ramp", "poisson"] = "ramp"
    """All at once; evenly over `ramp_s`; or at random, `rate_per_s` of them. But for the last, an end is followed by
    the next start."""
    ramp_s: Seconds = 1.0
    """Seconds of the ramp."""
    rate_per_s: Annotated[float, Meta(gt=0, le=10_000)] = 10.0
    """Hatches a second that arrive at random."""
    cancels: Share = 0.0
    """The share of hatches that are cancelled."""
    cancel_after_s: Span = (0.0, 2.0)
    """When, after their start; one that has not been accepted yet is cancelled by its key."""
    reconnects: Share = 0.0
    """The share of connections that leave and come back, again and again."""
    reconnect_every_s: Annotated[float, Meta(gt=0, le=86_400)] = 5.0
    """How long they stay, on the average."""
    away_s: Span = (0.0, 0.5)
    """How long they are away."""
    drops: Share = 0.5
    """The share of leaves that are abrupt: a reset in place of a closing handshake."""
    slow_readers: Share = 0.0
    """The share of connections that read slowly, as long as hatches are started."""
    slow_pause_s: Seconds = 0.5
    """How long those wait after each frame."""
    watchers: Annotated[int, Meta(ge=0, le=100)] = 0
    """Connections that watch each hatch besides the one that has started it."""
    wire: Wire = "json"
    """The format that the connections speak; `both`: every other one MessagePack."""
    seed: int = 0
    """The seed of all that is drawn; the order of what happens at once is the machine's."""
    memory_mib: Annotated[float, Meta(gt=0, le=1e6)] = 1024.0
    """The most memory that a gateway of our own may take."""
    pin: bool = False
    """Whether a gateway of our own and the swarm have a processor core each (Linux)."""
    engines: Engines = Engines()

    def __post_init__(self) -> None:
        """Raises ValueError for a span that ends before it begins."""
        for name in ("cancel_after_s", "away_s"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name}: {least} is more than {most}")

    @property
    def places(self) -> int:
        """Hatches that run at a time."""
        return self.connections * self.sessions_per_connection


def load_profile(name: str) -> Profile:
    """A built-in profile by its name, or one from a TOML file. Raises ProfileError."""
    path = Path(name)
    known = _built_in()
    if name in known:
        text = known[name].read_text(encoding="utf-8")
    elif path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    else:
        raise ProfileError(f"there is no profile {name!r}: {', '.join(sorted(known))}, or a TOML file")
    return parse_profile(text, name)


def parse_profile(text: str, name: str) -> Profile:
    """A profile from TOML; `name` is what an error calls it. Raises ProfileError."""
    try:
        return msgspec.convert(tomllib.loads(text), Profile)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{name} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ProfileError(f"{name}: {str(error).replace('Object', 'the profile')}") from error


def built_in_profiles() -> dict[str, Profile]:
    """All of them, by name."""
    return {name: load_profile(name) for name in sorted(_built_in())}


def _built_in() -> dict[str, Traversable]:
    folder = files(__package__) / BUILT_IN
    return {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
