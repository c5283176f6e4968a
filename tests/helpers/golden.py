"""The samples as they travel, written down for good: `python -m tests.helpers.golden` writes them anew.

A change to these files is a change of the protocol: think of the clients that are out there.
"""

from pathlib import Path
from typing import Final

import msgspec

from protocol.codec import Codec
from tests.helpers.samples import SAMPLES

FOLDER: Final = Path(__file__).parents[1] / "golden"


def path_of(codec: Codec) -> Path:
    """The file of a codec: a line for each message, its name and then its bytes, as text or in hex."""
    return FOLDER / f"{codec.value}.txt"


def lines(codec: Codec) -> str:
    """What the file of a codec holds if it is up to date."""
    return "".join(f"{name}: {_shown(message, codec)}\n" for name, message in SAMPLES.items())


def written(codec: Codec) -> dict[str, bytes]:
    """What the file of a codec holds, by the names of the messages."""
    named = (line.split(": ", 1) for line in path_of(codec).read_text(encoding="utf-8").splitlines())
    return {name: shown.encode() if codec is Codec.JSON else bytes.fromhex(shown) for name, shown in named}


def _shown(message: msgspec.Struct, codec: Codec) -> str:
    return msgspec.json.encode(message).decode() if codec is Codec.JSON else msgspec.msgpack.encode(message).hex()


if __name__ == "__main__":
    for each in Codec:
        path_of(each).write_text(lines(each), encoding="utf-8")
