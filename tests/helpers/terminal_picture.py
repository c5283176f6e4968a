"""Takes the README's pictures from a real run: `python -m tests.helpers.terminal_picture DIRECTORY`.

A gateway with the demo engines hatches one agent; the live display is drawn at chosen moments of that run.
"""

import io
import sys
import tempfile
from pathlib import Path

import trio
from PIL import Image
from rich.console import Console

from gateway.display import LiveDisplay
from protocol.commands import HatchRequest, ImageOptions
from protocol.events import Artifact, Progress, ServerMessage
from tests.helpers.gateways import listening_client, running_gateway

PROMPT = "a shy dragon who guards a library"
SEED = 3
COLUMNS, ROWS = 100, 50
AVATAR_SIDE = 320


async def take(directory: Path) -> None:
    """Write `hatch.svg`, the terminal in the middle of the drawing, and `avatar.png`, what was drawn."""
    with tempfile.TemporaryDirectory() as data:
        async with (
            running_gateway(Path(data), llm__engine="demo", image__engine="demo") as gateway,
            listening_client(gateway) as listener,
        ):
            session = (await listener.start(HatchRequest(prompt=PROMPT, image=ImageOptions(seed=SEED)))).session
            await listener.end(session)
            picture = await listener.fetch(listener.all(Artifact)[0])
            messages = [message for _, message in listener.heard]
    (directory / "hatch.svg").write_text(_terminal(messages), encoding="utf-8")
    avatar = Image.open(io.BytesIO(picture)).convert("RGB").resize((AVATAR_SIDE, AVATAR_SIDE), Image.Resampling.LANCZOS)
    avatar.quantize(128).save(directory / "avatar.png", optimize=True)


def _terminal(messages: list[ServerMessage]) -> str:
    console = Console(
        width=COLUMNS, height=ROWS, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    display = LiveDisplay(console, PROMPT)
    for message in messages:
        display.show(message)
        if isinstance(message, Progress) and message.step == 5:
            break
    console.print(display)
    return console.export_svg(title=f'hatchery hatch "{PROMPT}"')


if __name__ == "__main__":
    trio.run(take, Path(sys.argv[1]))
