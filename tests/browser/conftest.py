"""One browser and one gateway for the tests of a file; a fresh place in the browser for each test."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tests.helpers.browsing import cancel_all, chromium, serving_child

DESKTOP: Final[ViewportSize] = {"width": 1180, "height": 900}
QUIET: Final = {"viewport": DESKTOP, "reduced_motion": "reduce"}  # animations cost a machine without a GPU dearly
QUICK: Final = {  # seconds are what a test waits for
    "HATCHERY_SIM_TOKENS_PER_S": "400",
    "HATCHERY_SIM_STEP_S": "0.4",  # a `LONG` hatch then lasts
    "HATCHERY_SIM_STEPS": "2",
    "HATCHERY_SIM_JITTER": "0",
    "HATCHERY_LLM_SLOTS": "10",
    "HATCHERY_IMAGE_SLOTS": "10",
}

Serve = Callable[..., str]
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start a gateway with simulated engines, or those that are named; returns its URL."""
    with ExitStack() as gateways:

        def start(environ: Mapping[str, str] | None = None, *, llm: str = "sim", image: str = "sim") -> str:
            data = tmp_path_factory.mktemp("data")
            settings = {**QUICK, **(environ or {})}
            return gateways.enter_context(serving_child(data, settings, llm=llm, image=image)).url

        yield start


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> str:
    """The URL of a gateway whose engines are simulated and quick."""
    return serve()


@pytest.fixture
def open_page(browser: Browser, gateway: str) -> Iterator[Open]:
    """Open the page, each time as somebody new, or beside `beside` in the same browser.

    None may complain of anything but what is `expected`: where a gateway is gone, browsers say so.
    """
    pages: list[Page] = []
    complaints: list[str] = []

    def open_(
        url: str = gateway,
        *,
        beside: Page | None = None,
        connected: bool = True,
        expected: str = "(?!)",  # matches nothing
        **context: Any,
    ) -> Page:
        def complain(text: str) -> None:
            if not re.search(expected, text):
                complaints.append(text)

        place = beside.context if beside else browser.new_context(**{**QUIET, **context})
        page = place.new_page()
        pages.append(page)
        page.on("console", lambda said: complain(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective))")
        page.goto(url)
        if connected:
            page.locator("#link[data-state=open]").wait_for()
        return page

    yield open_
    for page in pages:
        page.context.close()
    cancel_all(gateway)
    assert complaints == []
