"""Without a mouse, and without eyes: everything has a key, a name and enough contrast, and what happens is said."""

from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.helpers.browsing import LONG, hatch

CONTROLS: Final = {"button", "link", "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "progressbar"}
SERIOUS: Final = {"serious", "critical"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(open_page: Open, scheme: str) -> None:
    """Empty, drawing, refused, done, stopped, and with each dialog."""
    page = open_page(color_scheme=scheme)
    _check(page)
    page.get_by_role("button", name="Recent").click()
    hatch(page, "")  # which is complained of
    hatch(page, "a fish to look at closely", steps=LONG)
    card = page.locator(".card").first
    expect(card).to_have_attribute("data-state", "drawing")
    _check(page)
    card.get_by_role("button", name="Stop").click()
    expect(card).to_have_attribute("data-state", "cancelled")
    hatch(page, "a fish who is done", steps=1)
    expect(card).to_have_attribute("data-state", "done")
    expect(page.locator("#agents button").first).to_be_visible()
    _check(page)
    card.get_by_role("button", name="Open").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    _check(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keys").click()
    _check(page)


def test_everything_is_done_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the prompt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("a fish without hands")
    _tab_to(page, "Options")
    page.keyboard.press("Enter")
    _tab_to(page, "Steps")
    page.keyboard.type("1")
    page.keyboard.press("Control+Enter")
    card = page.locator(".card").first
    expect(card).to_have_attribute("data-state", "done")
    _tab_to(page, "Open")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    _tab_to(page, "New seed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".card")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(card).to_have_attribute("data-state", "cancelled")
    for left in (1, 0):
        _tab_to(page, "Put this card away")
        page.keyboard.press("Enter")
        expect(page.locator(".card")).to_have_count(left)
    expect(page.get_by_label("Describe an agent")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_screen_readers_hear_milestones_not_ticks(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            window.heard = [];
            const watch = new MutationObserver(() => heard.push(document.getElementById("announcer").textContent));
            watch.observe(document.getElementById("announcer"), { childList: true });
        }"""
    )
    hatch(page, "a fish that is listened to", steps=3)
    expect(page.locator("#announcer")).to_contain_text("has hatched", timeout=15_000)
    heard = page.evaluate("heard")
    assert 2 <= len(heard) <= 4
    assert page.locator("#announcer").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("width", [1180, 360])
def test_every_control_has_a_name(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    hatch(page, "a fish with a name", steps=1)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in tree if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert len(controls) > 5
    assert [node for node in controls if not node["name"]["value"].strip()] == []


def _check(page: Page) -> None:
    """Raise AssertionError for what axe-core finds serious, with its own words and what it found it in."""
    found = Axe().run(page).response["violations"]
    serious = [violation for violation in found if violation["impact"] in SERIOUS]
    assert [(violation["help"], [node["html"] for node in violation["nodes"]]) for violation in serious] == []


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called `name`."""
    called = "(() => { const at = document.activeElement; return at.ariaLabel ?? (at.labels?.[0] ?? at).innerText; })()"
    for _ in range(60):
        page.keyboard.press("Tab")
        if (page.evaluate(called) or "").strip() == name:
            return
    raise AssertionError(f"Tab never came to {name!r}")
