"""Reloads, other tabs and lost connections: the page shows again what there is to show."""

import re

from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.conftest import Open
from tests.helpers.browsing import LONG, ask, hatch

WITHIN_MS = 2000


def test_a_reload_in_mid_hatch_shows_everything_again(open_page: Open) -> None:
    page = open_page()
    hatch(page, "a fish with a past", steps=LONG)
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "drawing")
    written = card.locator(".backstory").inner_text()
    assert len(written) > 20
    page.reload()
    expect(card.locator(".backstory")).to_have_text(written, timeout=WITHIN_MS)
    expect(card.locator(".card-prompt")).to_have_text("a fish with a past")
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"^[3-9]\d$"))
    card.get_by_role("button", name="Stop").click()
    expect(card).to_have_attribute("data-state", "cancelled")
    page.reload()
    expect(card.locator(".outcome")).to_contain_text("Stopped", timeout=WITHIN_MS)


def test_a_hatch_of_another_tab_appears_by_itself(open_page: Open) -> None:
    first = open_page()
    second = open_page(beside=first)
    hatch(first, "a fish in two places", steps=LONG)
    card = second.locator(".card")
    expect(card.locator(".card-prompt")).to_have_text("a fish in two places")
    expect(card.locator(".name")).not_to_be_empty()
    card.get_by_role("button", name="Stop").click()
    expect(first.locator(".card")).to_have_attribute("data-state", "cancelled")
    expect(first.locator(".card")).to_have_count(1)


def test_a_lost_connection_is_said_with_the_time_of_the_next_try(open_page: Open) -> None:
    page = open_page()
    sockets = _sockets(page)
    hatch(page, "a fish behind a waterfall", steps=LONG)
    expect(page.locator(".card")).to_have_attribute("data-state", "drawing")
    _cut(sockets)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"Trying again in (60|5\d) s"))
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#lost")).to_be_hidden()
    percent = page.get_by_role("progressbar").get_attribute("aria-valuenow")
    expect(page.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", percent or "")


def test_what_began_elsewhere_meanwhile_appears_where_it_belongs(open_page: Open, gateway: str) -> None:
    """Nobody announces it to a page that was away: it has to ask."""
    page = open_page()
    sockets = _sockets(page)
    hatch(page, "a fish from before", steps=LONG)
    expect(page.locator(".card")).to_have_attribute("data-state", "drawing")
    _cut(sockets)
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    for prompt in ("a fish from meanwhile", "a fish from a moment ago"):
        ask(f"{gateway}/v1/hatches", {"prompt": prompt, "image": {"steps": LONG}})
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".card-prompt")).to_have_text(
        ["a fish from a moment ago", "a fish from meanwhile", "a fish from before"]
    )
    expect(page.locator(".card[data-state=drawing]")).to_have_count(3)


def _sockets(page: Page) -> list[WebSocketRoute]:
    """The page's sockets from now on, the first one being open; they can be cut."""
    sockets: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/v1/ws"), pass_on)
    page.reload()
    page.locator("#link[data-state=open]").wait_for()
    return sockets


def _cut(sockets: list[WebSocketRoute]) -> None:
    """End the connection, the next one to be tried in a minute."""
    sockets[-1].send('[{"type": "going_away", "deadline_ms": 0, "reconnect_after_ms": [60000, 60000]}]')
    sockets[-1].close(code=1012)
