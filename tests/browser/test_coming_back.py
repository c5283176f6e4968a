"""Reloads, other tabs, lost connections, links and logins: the page shows again what there is to show."""

import re
import subprocess

from playwright.sync_api import WebSocketRoute, expect

from tests.browser.conftest import Open, Serve
from tests.helpers.browsing import LONG, hatch
from tests.helpers.children import HATCHERY

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
    sockets: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/v1/ws"), pass_on)
    page.reload()
    hatch(page, "a fish behind a waterfall", steps=LONG)
    expect(page.locator(".card")).to_have_attribute("data-state", "drawing")
    sockets[0].send('[{"type": "going_away", "deadline_ms": 0, "reconnect_after_ms": [60000, 60000]}]')
    sockets[0].close(code=1012)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"Trying again in (60|5\d) s"))
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#lost")).to_be_hidden()
    percent = page.get_by_role("progressbar").get_attribute("aria-valuenow")
    expect(page.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", percent or "")


def test_a_link_shows_one_hatch_and_offers_nothing_else(open_page: Open, gateway: str) -> None:
    host = open_page()
    hatch(host, "a fish worth watching", steps=LONG)
    card = host.locator(".card")
    expect(card).to_have_attribute("data-state", "drawing")
    host.context.grant_permissions(["clipboard-read", "clipboard-write"])
    card.get_by_role("button", name="Share").click()
    expect(card.get_by_text("Link copied")).to_be_visible()
    link = host.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{gateway}/#watch=")
    guest = open_page(link)
    expect(guest.locator(".card .name")).to_have_text(card.locator(".name").inner_text())
    expect(guest.get_by_role("textbox")).to_have_count(0)
    expect(guest.get_by_role("button", name=re.compile("Stop|Share|again|Open"))).to_have_count(0)
    card.get_by_role("button", name="Stop").click()
    expect(guest.locator(".card .outcome")).to_contain_text("Stopped")


def test_a_token_is_asked_for_once(open_page: Open, serve: Serve) -> None:
    said = subprocess.run([HATCHERY, "token", "alice"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(hatchery_\S+)[\s\S]*?(alice:sha256:\w+)", said)
    assert found is not None
    page = open_page(serve({"HATCHERY_ACCESS_TOKENS": found[2]}), connected=False)
    dialog = page.get_by_role("dialog", name="Log in")
    dialog.get_by_label("Token").fill(found[1])
    dialog.get_by_role("button", name="Come in").click()
    expect(page.locator("#link")).to_have_attribute("data-state", "open")
    hatch(page, "a fish with a key", steps=2)
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    page.reload()
    expect(page.locator("#agents li")).to_have_count(1)
    expect(dialog).to_have_count(0)


def test_a_stale_link_says_so(open_page: Open, gateway: str) -> None:
    page = open_page(f"{gateway}/#watch=nobody:local:1:00", connected=False)
    expect(page.get_by_role("status")).to_contain_text("no longer valid")


def test_a_restart_begins_again_in_plain_words(open_page: Open) -> None:
    """The view of a second attempt, as a gateway that was restarted in mid-hatch tells it."""
    page = open_page()
    note = page.evaluate(
        """async () => {
            const { HatchCard } = await import("/assets/hatchcard.js");
            const [accepted, done] = [Promise.resolve("s"), new Promise(() => {})];
            const persona = { name: "Wre" };
            const view = { state: "writing", attempt: 1, epoch: 1, percent: 20, persona, artifacts: [] };
            const hatch = Object.assign(new EventTarget(), { accepted, done, session: "s", view });
            const card = new HatchCard(hatch, { prompt: "a wren", does: {} });
            Object.assign(hatch.view, { attempt: 2, epoch: 2, percent: 0, persona: {} });
            hatch.dispatchEvent(new Event("change"));
            const said = (kind) => card.element.querySelector(kind).textContent;
            return [said(".note"), said(".name")];
        }"""
    )
    assert note == ["Begun again, attempt 2", ""]
