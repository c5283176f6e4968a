"""Narrow screens, dark rooms, no mouse, no motion, no sight of the tab: the page serves all of them."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.helpers.browsing import LONG, hatch

CONTROLS = {"button", "link", "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "progressbar"}


def test_everything_is_done_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the prompt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("a fish without hands")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_have_attribute("data-state", "cancelled")
    page.get_by_role("button", name="Put this card away").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_label("Describe an agent")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


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
    icon = page.locator("#favicon").get_attribute("href")
    hatch(page, "a fish in the background", steps=LONG)
    expect(page).to_have_title(re.compile(r"^\d+ % \w+ · Hatchery$"))
    expect(page.locator("#favicon")).not_to_have_attribute("href", icon or "")
    page.keyboard.press("Escape")
    expect(page).to_have_title(re.compile(r"^Stopped: \w+ · Hatchery$"))


def test_screen_readers_hear_milestones_not_ticks(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            window.heard = [];
            const watch = new MutationObserver(() => heard.push(document.getElementById("announcer").textContent));
            watch.observe(document.getElementById("announcer"), { childList: true });
        }"""
    )
    hatch(page, "a fish that is listened to", steps=4)
    expect(page.locator("#announcer")).to_contain_text("has hatched", timeout=15_000)
    heard = page.evaluate("heard")
    assert 2 <= len(heard) <= 4
    assert page.locator("#announcer").get_attribute("aria-live") == "polite"


def test_nothing_moves_while_a_hatch_runs(open_page: Open) -> None:
    page = open_page()
    hatch(page, "a fish on firm ground", steps=20)
    expect(page.locator(".card")).to_have_attribute("data-state", "writing")
    page.evaluate(
        """() => {
            window.shifts = [];
            new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
                .observe({ type: "layout-shift" });
        }"""
    )
    expect(page.locator(".card")).to_have_attribute("data-state", "done", timeout=15_000)
    assert sum(page.evaluate("shifts")) < 0.01


@pytest.mark.parametrize("width", [1180, 360])
def test_every_control_has_a_name(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    hatch(page, "a fish with a name", steps=1)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in tree if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert len(controls) > 5
    assert [node for node in controls if not node["name"]["value"].strip()] == []
