"""Messages that no client should send: valid ones changed, bytes of any kind, and structures of any shape."""

from random import Random
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocol.codec import Codec

CURSOR: Final = {"session": "0123456789abcdef0123", "epoch": 1, "seq": 2, "offset": 3}
VALID: Final[list[Any]] = [
    {"type": "hello", "id": 1, "client": "fuzz", "follow": "mine", "resume": [CURSOR, CURSOR]},
    {"type": "start", "id": "s", "key": "k", "hatch": {"prompt": "a fox", "image": {"steps": 4, "width": 512}},
     "watch": {"max_hz": 5.0, "previews": True}, "on_disconnect": "cancel", "grace_s": 2.5},
    {"type": "cancel", "id": 2, "session": "0123456789abcdef0123", "reason": "größer 🦊"},
    {"type": "watch", "id": 3, "session": "0123456789abcdef0123", "from": {"epoch": 1, "seq": 2, "offset": 3}},
    {"type": "unwatch", "id": -4, "session": "0123456789abcdef0123"},
    {"type": "list", "id": 5, "states": ["done", "writing"], "limit": 20, "before": "17"},
    {"type": "ping", "id": "p" * 40},
    [{"type": "ping", "id": 6}, {"type": "ping", "id": 7}],
]  # fmt: skip
MUTANTS_OF_EACH: Final = 10

_NAMES = st.sampled_from(["type", "id", "session", "hatch", "key", "from", "resume", "prompt", "watch", "limit", "x"])
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.sampled_from(["hello", "start", "cancel", "watch", "list", "ping", "mine", "0123456789abcdef0123"]),
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=8
)


def mutants(codec: Codec, *, families: int) -> list[bytes]:
    """Over a hundred payloads of each family, the same in every run; those of JSON are UTF-8, as text has to be."""
    found: list[bytes] = []
    random = Random(families)
    encode = msgspec.json.encode if codec is Codec.JSON else msgspec.msgpack.encode

    @settings(
        max_examples=families,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_VALUES, min_size=5, max_size=8), st.lists(st.binary(max_size=60), max_size=5))
    def gather(values: list[Any], noise: list[bytes]) -> None:
        parents = [encode(value) for value in [*VALID, *values]]
        found.extend([*parents[len(VALID) :], *noise])
        found.extend(_mutated(parent, parents, random) for parent in parents for _ in range(MUTANTS_OF_EACH))

    gather()
    if codec is Codec.JSON:
        return [payload.decode("utf-8", "replace").encode() for payload in found]
    return found


def _mutated(parent: bytes, others: list[bytes], random: Random) -> bytes:
    """One to three changes: of bits, pieces left out, repeated, moved in from elsewhere, or the end cut off."""
    data = bytearray(parent)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.randint(1, 8))
        match random.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * random.randint(1, 50)
            case 3:
                data[at:at] = random.randbytes(random.randint(1, 4))
            case 4:
                other = random.choice(others)
                data[at:end] = other[: random.randrange(len(other) + 1)]
            case _:
                del data[at:]
    return bytes(data)
