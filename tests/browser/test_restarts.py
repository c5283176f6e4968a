"""A gateway that ends in mid-hatch and is begun again with the same data: the page goes on, and says what happened."""

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import QUICK, Open
from tests.helpers.browsing import LONG, Served, hatch, serving_child

GONE = "ERR_CONNECTION_(REFUSED|RESET)|WebSocket connection"
WITHIN_MS = 15_000
TRY_NOW = "dispatchEvent(new Event('online'))"  # rather than when the backoff says
SETTINGS = {**QUICK, "HATCHERY_SIM_TOKENS_PER_S": "50"}  # time enough to be killed in


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that may be ended."""
    with serving_child(tmp_path_factory.mktemp("data"), SETTINGS, llm="sim", image="sim") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(served: Served) -> str:
    """Its URL, which stays the same."""
    return served.url


def test_killed_while_drawing_it_keeps_the_persona_and_draws_anew(open_page: Open, served: Served) -> None:
    page = open_page(expected=GONE)
    hatch(page, "a fish who was drawn twice", steps=LONG)
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "drawing")
    written = {field: card.locator(field).inner_text() for field in (".name", ".backstory", ".greeting")}
    served.end(signal.SIGKILL)
    expect(page.get_by_role("status")).to_contain_text("Connection lost")
    for field, text in written.items():
        expect(card.locator(field)).to_have_text(text)  # what was known is not taken away
    served.begin_again()
    page.evaluate(TRY_NOW)
    expect(card.locator(".note")).to_have_text("Begun again, attempt 2", timeout=WITHIN_MS)
    expect(page.locator("#lost")).to_be_hidden()
    expect(card).to_have_attribute("data-state", "drawing")
    for field, text in written.items():
        expect(card.locator(field)).to_have_text(text)
    expect(card).to_have_count(1)


def test_killed_while_writing_it_begins_afresh_and_says_so(open_page: Open, served: Served) -> None:
    page = open_page(expected=GONE)
    hatch(page, "a fish who was written twice", steps=1)
    card = page.locator(".card")
    expect(card.locator(".tagline")).not_to_be_empty(timeout=WITHIN_MS)
    expect(card).to_have_attribute("data-state", "writing")
    served.end(signal.SIGKILL)
    served.begin_again()
    page.evaluate(TRY_NOW)
    expect(card.locator(".note")).to_have_text("Begun again, attempt 2", timeout=WITHIN_MS)
    expect(card).to_have_attribute("data-state", "done", timeout=WITHIN_MS)
    expect(card.get_by_text("has hatched")).to_be_visible()
    expect(card.locator(".greeting")).not_to_be_empty()


def test_stopped_by_its_host_it_says_who_stopped_it_and_can_hatch_again(open_page: Open, served: Served) -> None:
    page = open_page(expected=GONE)
    hatch(page, "a fish who was sent home", steps=LONG)
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "drawing")
    served.end(signal.SIGTERM)
    expect(card.locator(".outcome")).to_contain_text("Stopped in")
    expect(card.locator(".note")).to_have_text("Why: the gateway stops.")
    expect(card.locator(".receipt")).to_have_text("worker idle, model kept, LLM closed")
    served.begin_again()
    page.evaluate(TRY_NOW)
    expect(page.locator("#link")).to_have_attribute("data-state", "open")
    page.reload()
    expect(card.locator(".note")).to_have_text("Why: the gateway stops.")
    card.get_by_role("button", name="Hatch again").click()
    expect(page.locator(".card[data-state=drawing] .card-prompt")).to_have_text("a fish who was sent home")
    expect(page.locator(".card")).to_have_count(2)
