"""Narrow screens, dark rooms, no motion, no sight of the tab: the page serves all of them."""

import re

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.conftest import Open, Serve
from tests.helpers.browsing import LONG, SHIFTS, hatch, shifted


def test_a_narrow_screen_needs_no_sideways_scrolling(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    hatch(page, "a fish with averyverylongwordthatfitsnowhere" + "o" * 60, steps=1)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#agents button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_dark_rooms_get_a_dark_page(open_page: Open) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    assert open_page(color_scheme="dark").evaluate(brightness) < 120
    assert open_page(color_scheme="light").evaluate(brightness) > 600


def test_reduced_motion_stops_every_animation(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    hatch(page, "a very still fish", steps=LONG)
    expect(page.locator(".card")).to_have_attribute("data-state", "drawing")
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_tab_tells_how_far_it_is_and_how_it_ended(open_page: Open) -> None:
    page = open_page()
    icon = page.locator("#favicon")
    drawn = icon.get_attribute("href") or ""
    hatch(page, "a fish in the tab", steps=LONG)
    expect(page).to_have_title(re.compile(r"^\d+ % \w+ · Hatchery$"))
    expect(icon).not_to_have_attribute("href", drawn)
    running = icon.get_attribute("href") or ""
    page.keyboard.press("Escape")
    expect(page).to_have_title(re.compile(r"^Stopped: \w+ · Hatchery$"))
    hatch(page, "a fish in another tab", steps=1)
    expect(page).to_have_title(re.compile(r"^Hatched: \w+ · Hatchery$"))
    expect(icon).to_have_attribute("href", re.compile("%234d8b57"))  # green, and a whole ring
    assert "%234d8b57" not in running


def test_a_tab_in_the_background_goes_on_and_calls_when_it_is_done(open_page: Open) -> None:
    """Headless tabs are always in sight, so this one is told that it is not: no frames, and `hidden`."""
    page = open_page()
    page.add_init_script(
        """window.called = [];
        window.Notification = class { static permission = "granted"; constructor(title) { called.push(title); } };"""
    )
    page.reload()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Notify me when I am elsewhere").check()
    hatch(page, "a fish in sight", steps=1)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    hatch(page, "a fish out of sight", steps=5)
    page.evaluate(
        """() => {
            window.requestAnimationFrame = () => 0;
            Object.defineProperty(document, "hidden", { get: () => true });
            Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
            document.dispatchEvent(new Event("visibilitychange"));
            window.titles = new Set();
            const keep = new MutationObserver(() => titles.add(document.title));
            keep.observe(document.querySelector("title"), { childList: true });
        }"""
    )
    expect(page).to_have_title(re.compile("^Hatched"), timeout=15_000)
    assert sum(" % " in title for title in page.evaluate("[...titles]")) >= 3
    assert page.evaluate("called") == [page.locator(".card .outcome").first.inner_text()]
    page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.reload()
    expect(page.locator(".card[data-state=done]")).to_have_count(2)
    assert page.evaluate("called") == []  # what had ended before is no news


@pytest.mark.parametrize("wanted", [False, True])
def test_a_chime_is_for_those_who_asked_for_it(open_page: Open, wanted: bool) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            window.tones = [];
            const { start } = OscillatorNode.prototype;
            OscillatorNode.prototype.start = function (at) { tones.push(this.frequency.value); start.call(this, at); };
        }"""
    )
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Chime at the end").set_checked(wanted)
    hatch(page, "a fish who sings", steps=1)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    assert len(page.evaluate("tones")) == (2 if wanted else 0)
    page.reload()
    assert page.get_by_label("Chime at the end").is_checked() is wanted


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, {"width": 360, "height": 740}])
def test_nothing_moves_from_the_prompt_to_the_picture(open_page: Open, serve: Serve, viewport: ViewportSize) -> None:
    """With previews and without, with an end that brings buttons, and a prompt that fills its lines."""
    page = open_page(serve(llm="sim", image="demo"), viewport=viewport, reduced_motion="no-preference")
    page.add_init_script(SHIFTS)
    page.reload()
    page.get_by_role("button", name="Options").click()
    for wanted in (True, False):
        page.get_by_label("Show it while it is drawn").set_checked(wanted)
        page.get_by_label("Size").select_option("512x512")
        page.get_by_label("Steps").fill("2")
        page.get_by_label("Describe an agent").fill("a fish on firm ground, who " + "swims and " * 12 + "never rests")
        shifted(page)  # a script's typing is no input
        page.get_by_role("button", name="Hatch", exact=True).click()
        card = page.locator(".card").first
        expect(card).to_have_attribute("data-state", "done", timeout=30_000)
        expect(card.locator(".egg.hatched")).to_be_visible()
        assert shifted(page) < 0.0005
