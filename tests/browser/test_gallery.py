"""The gallery, and cards that come in: found, opened, hatched again, redrawn, deleted, dropped onto the page."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from actors.cards import card_png
from protocol.card import Making, to_card
from protocol.events import Engines
from tests.browser.conftest import Open, Serve
from tests.helpers.browsing import ask, drop, hatch, hatch_beside
from tests.helpers.gateways import PERSONA

MAKING = Making(
    prompt="an owl folded from paper",
    seed=4711,
    steps=6,
    engines=Engines(llm="demo", image="demo"),
    version="1",
    created_at_ms=0,
)


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> str:
    """A gateway with three agents."""
    url = serve()
    for prompt in ("a heron", "a kestrel", "a wagtail"):
        hatch_beside(url, {"prompt": prompt, "image": {"steps": 1, "seed": len(prompt)}})
    return url


def test_agents_are_found_opened_and_walked_through(open_page: Open) -> None:
    page = open_page()
    tiles = page.locator("#agents button")
    expect(tiles).to_have_count(3)
    page.keyboard.press("g")
    expect(tiles.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".made")).to_contain_text("a kestrel")
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Card as JSON").click()
    card = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert card["data"]["extensions"]["hatchery"]["making"]["prompt"] == "a kestrel"
    page.keyboard.press("Escape")
    expect(tiles.nth(1)).to_be_focused()
    page.get_by_label("Search the agents").fill("wagtail")
    expect(tiles).to_have_count(1)
    page.get_by_label("Search the agents").fill("nobody at all")
    expect(page.get_by_text("Nobody by these words.")).to_be_visible()


def test_an_agent_is_hatched_again_redrawn_and_let_go(open_page: Open, gateway: str) -> None:
    page = open_page()
    heron = page.locator("#agents li").nth(2)
    name = heron.locator(".agent-name").inner_text()
    heron.get_by_role("button").click()
    page.get_by_role("button", name="Same seed, 7").click()
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "done")
    expect(page.locator("#agents li")).to_have_count(4)
    again, first = _agents(gateway)[0], _agents(gateway)[3]
    assert (again["prompt"], again["seed"], again["persona"]) == (first["prompt"], first["seed"], first["persona"])

    page.locator("#agents li").nth(3).get_by_role("button").click()
    page.get_by_role("button", name="New portrait only").click()
    expect(page.locator("#agents li")).to_have_count(5)
    redrawn = _agents(gateway)[0]
    assert redrawn["persona"]["name"] == name
    assert redrawn["seed"] != 7

    page.locator("#agents li").first.get_by_role("button").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.locator("#agents li")).to_have_count(4)
    assert redrawn["agent"] not in [item["agent"] for item in _agents(gateway)]


@pytest.mark.parametrize("kind", ["png", "json"])
def test_a_dropped_card_gives_its_prompt_and_settings(open_page: Open, kind: str) -> None:
    page = open_page()
    if kind == "png":
        drop(page, card_png(_picture(), PERSONA, MAKING), "owl.png", "image/png")
    else:
        drop(page, to_card(PERSONA, MAKING), "owl.json", "application/json")
    expect(page.get_by_label("Describe an agent")).to_have_value("an owl folded from paper")
    expect(page.locator("#options-summary")).to_contain_text("6 steps · seed 4711")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_picture_without_a_card_is_what_the_avatar_begins_from(open_page: Open, serve: Serve) -> None:
    url = serve(image="demo")
    page = open_page(url)
    page.get_by_role("button", name="Options").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Begin from a picture").click()
    chooser.value.set_files({"name": "plain.png", "mimeType": "image/png", "buffer": _picture()})
    chip = page.locator("#input-chip")
    expect(chip).to_contain_text("begins from this picture")
    expect(chip.locator("img")).to_have_js_property("naturalWidth", 64)
    hatch(page, "a fish after a picture", steps=1)
    avatar = page.locator("img.avatar")
    expect(avatar).to_be_visible(timeout=30_000)
    width, height = avatar.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
    assert width == height * 2  # the picture's own shape
    page.get_by_role("button", name="Take the picture away").click()
    expect(chip).to_be_hidden()
    expect(page.get_by_label("Describe an agent")).to_be_focused()


def test_an_engine_that_begins_from_nothing_says_so(open_page: Open) -> None:
    page = open_page()
    drop(page, _picture(), "plain.png", "image/png")
    expect(page.locator("#input-chip")).to_be_visible()
    hatch(page, "a fish after a picture")
    expect(page.get_by_role("alert")).to_contain_text("does not honour `input`")
    expect(page.locator(".card")).to_have_count(0)


def test_a_broken_picture_says_so(open_page: Open) -> None:
    page = open_page(expected="status of 422")
    drop(page, _picture()[:60], "broken.png", "image/png")
    expect(page.get_by_role("alert")).to_contain_text("no whole PNG picture")
    expect(page.locator("#input-chip")).to_be_hidden()


def test_prompts_and_options_are_remembered(open_page: Open) -> None:
    page = open_page()
    for prompt in ("a first fish", "a second fish"):
        hatch(page, prompt, steps=1)
    page.reload()
    expect(page.locator("#options-summary")).to_have_text("1 step")
    box = page.get_by_label("Describe an agent")
    box.press("ArrowUp")
    expect(box).to_have_value("a second fish")
    box.press("ArrowUp")
    expect(box).to_have_value("a first fish")
    page.get_by_role("button", name="Recent").click()
    page.get_by_role("button", name="a second fish").click()
    expect(box).to_have_value("a second fish")


def _agents(url: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = ask(f"{url}/v1/agents")["items"]
    return items


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), "peru").save(buffer, "PNG")
    return buffer.getvalue()
