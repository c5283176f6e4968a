"""What a gateway says in one frame, read by a client."""

from typing import Final

import msgspec

from protocol.events import ServerMessage

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_FRAME: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE: Final = msgspec.json.Decoder(ServerMessage)


def decode_messages(frame: str | bytes) -> list[ServerMessage]:
    """The messages in order, without those of a later version. Raises msgspec.DecodeError for what is no array."""
    messages: list[ServerMessage] = []
    for raw in _FRAME.decode(frame):
        try:
            messages.append(_MESSAGE.decode(raw))
        except msgspec.ValidationError:
            continue
    return messages
