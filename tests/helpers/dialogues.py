"""What the tests of the dialogue say to a gateway and wait for."""

from typing import Any

import pytest

from tests.helpers.wire import WAYS, Message, Wire

FAST: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.01, "llm__slots": 100, "image__slots": 100}
SLOW_DRAWING: dict[str, Any] = FAST | {"sim__step_s": 30}
SLOW_WRITING: dict[str, Any] = FAST | {"sim__tokens_per_s": 1}
ALL_WAYS = pytest.mark.parametrize(("library", "codec"), WAYS, ids=lambda value: getattr(value, "name", value))


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def in_state(wire: Wire, session: str, state: str) -> None:
    await wire.until(lambda message: message.get("session") == session and message.get("state") == state)


def sole(messages: list[Message]) -> Message:
    (message,) = messages
    return message
