"""Models and LoRAs: shown where the operator names some, asked for, remembered, and taken from a card."""

import json

import pytest
from playwright.sync_api import Page, expect

from protocol.card import Making, to_card
from protocol.events import Engines
from protocol.maker import Maker
from tests.browser.conftest import Open, Serve
from tests.helpers.browsing import drop, hatch
from tests.helpers.gateways import PERSONA

OFFER = {
    "HATCHERY_IMAGE_MODELS": "pastel=/models/pastel,woodcut=/models/woodcut",
    "HATCHERY_IMAGE_LORAS": "ink=/loras/ink,fog=/loras/fog",
}


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> str:
    """A gateway that lets hatches choose."""
    return serve(OFFER)


def test_what_is_chosen_is_asked_for_and_remembered(open_page: Open) -> None:
    page = open_page()
    asked = _asked(page)
    page.get_by_role("button", name="Options").click()
    expect(page.locator("#option-model").locator("option")).to_have_text(["the gateway's own", "pastel", "woodcut"])
    hatch(page, "a plain fish", steps=1)
    expect(page.locator(".card[data-state=done]")).to_have_count(1)
    page.locator("#option-model").select_option("woodcut")
    page.get_by_label("fog").check()
    page.get_by_label("ink").check()
    page.reload()
    expect(page.locator("#options-summary")).to_contain_text("woodcut · ink · fog · 1 step")
    hatch(page, "a chosen fish", steps=1)
    expect(page.locator(".card[data-state=done]")).to_have_count(2)
    page.locator(".card").last.get_by_role("button", name="Hatch again").click()
    expect(page.locator(".card[data-state=done]")).to_have_count(3)
    page.locator("#option-model").select_option("")
    page.locator(".card").first.get_by_role("button", name="Open").click()
    page.get_by_role("button", name="New portrait only").click()
    expect(page.locator(".card[data-state=done]")).to_have_count(4)
    chosen = [(image.get("model"), image.get("lora")) for image in asked]
    assert chosen == [(None, None), ("woodcut", ["ink", "fog"]), ("woodcut", ["ink", "fog"]), (None, ["ink", "fog"])]


@pytest.mark.parametrize(("painter", "model"), [("pastel", "pastel"), ("schnell", "")])
def test_a_card_brings_its_model_where_there_is_one_of_that_name(open_page: Open, painter: str, model: str) -> None:
    page = open_page()
    page.get_by_role("button", name="Options").click()
    page.locator("#option-model").select_option("woodcut")
    made = Making(
        prompt="an owl folded from paper",
        seed=4711,
        steps=6,
        engines=Engines(llm="demo", image="mflux-generate"),
        version="1",
        created_at_ms=0,
        painter=Maker(engine="mflux-generate", model=painter),
    )
    drop(page, to_card(PERSONA, made), "owl.json", "application/json")
    expect(page.get_by_label("Describe an agent")).to_have_value(made.prompt)
    expect(page.locator("#option-model")).to_have_value(model)


def test_without_a_choice_there_is_none_to_see(open_page: Open, serve: Serve) -> None:
    page = open_page()
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_role("group", name="LoRAs")).to_be_visible()
    page.goto(serve())
    page.locator("#link[data-state=open]").wait_for()
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_label("Steps")).to_be_visible()
    expect(page.locator("#option-model")).to_be_hidden()
    expect(page.get_by_role("group", name="LoRAs")).to_be_hidden()


def _asked(page: Page) -> list[dict[str, object]]:
    """What every hatch from now on asks of its picture."""
    images: list[dict[str, object]] = []

    def read(frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "start":
            images.append(message["hatch"]["image"])

    page.on("websocket", lambda socket: socket.on("framesent", read))
    page.reload()
    page.locator("#link[data-state=open]").wait_for()
    return images
