"""Takes the README's pictures of the page from a real run: `python -m tests.helpers.page_pictures DIRECTORY`.

A gateway with the demo engines hatches a few agents; the last one is caught while it is drawn.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect

from tests.helpers.browsing import chromium, hatch, hatch_beside, serving_child

BROOD: Final = {
    "a moth who repairs watches": 5,
    "a lighthouse robot with a soft heart": 2,
    "an otter who maps the tides": 9,
    "a grumpy owl who writes love letters": 4,
    "a cactus who gives hugs": 7,
}
PROMPT: Final = "a shy dragon who guards a library"
SEED: Final = 3
DESKTOP: Final[ViewportSize] = {"width": 1100, "height": 1150}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
WIDTH: Final = 880  # of the picture of the desktop
COLOURS: Final = 160


def take(directory: Path) -> None:
    """Write `page.png`, a drawing at half its steps, and `page-dark.png`, the same on a phone in the dark."""
    settings = {"HATCHERY_IMAGE_PREVIEWS": "true"}
    with (
        tempfile.TemporaryDirectory() as data,
        serving_child(Path(data), settings, llm="demo", image="demo") as gateway,
        chromium() as browser,
    ):
        for prompt, seed in BROOD.items():
            hatch_beside(gateway.url, {"prompt": prompt, "image": {"seed": seed, "width": 384, "height": 384}})
        desktop = browser.new_page(viewport=DESKTOP)
        phone = browser.new_page(viewport=PHONE, color_scheme="dark", device_scale_factor=1.5)
        desktop.goto(gateway.url)
        phone.goto(gateway.url)
        desktop.get_by_role("button", name="Options").click()
        desktop.get_by_label("Seed").fill(str(SEED))
        desktop.get_by_role("button", name="Options").click()
        hatch(desktop, PROMPT)
        for page in (desktop, phone):
            page.locator(".card").scroll_into_view_if_needed()
        expect(desktop.locator(".bar-facts")).to_contain_text("step 6", timeout=60_000)
        _keep(phone, directory / "page-dark.png", PHONE["width"])
        _keep(desktop, directory / "page.png", WIDTH)


def _keep(page: Page, path: Path, width: int) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
