"""From a sentence to an avatar, or to a stop: what the page shows of one hatch and of many."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Open, Serve
from tests.helpers.browsing import LONG, hatch
from tests.helpers.gateways import PERSONA

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
ONE_OF_EACH = {"HATCHERY_LLM_SLOTS": "1", "HATCHERY_IMAGE_SLOTS": "1", "HATCHERY_SIM_TOKENS_PER_S": "50"}


def test_a_sentence_becomes_a_persona_and_a_portrait(open_page: Open, serve: Serve) -> None:
    """With the demo engines: the fields fill, the egg cracks, the picture is the one that was announced."""
    page = open_page(serve(llm="demo", image="demo"), reduced_motion="no-preference")
    expect(page.get_by_text("Demo engines:")).to_be_visible()
    hatch(page, "a shy dragon who guards a library", steps=2)
    card = page.locator(".card")
    expect(card.locator(".name")).not_to_be_empty()
    expect(card.get_by_role("progressbar")).to_be_visible()
    expect(card.locator(".card-prompt")).to_have_text("a shy dragon who guards a library")
    avatar = card.locator("img.avatar")
    expect(avatar).to_have_attribute("alt", re.compile(r"^\w+, .*dragon$", re.IGNORECASE), timeout=30_000)
    expect(card.get_by_text("has hatched")).to_be_visible()
    expect(card.locator(".egg.hatched")).to_be_visible()
    assert avatar.evaluate("(image) => image.naturalWidth") > 100
    expect(page.locator("#agents li")).to_have_count(1)


def test_a_hatch_is_stopped_at_every_stage_and_says_what_the_receipt_says(open_page: Open, serve: Serve) -> None:
    """With one writer and one painter, whose work lasts, so that others have to wait for them."""
    page = open_page(serve(ONE_OF_EACH))
    hatch(page, "a fish who is drawn", steps=LONG)
    hatch(page, "a fish in line")
    drawn, stopped = page.locator(".card", has_text="who is drawn"), page.locator(".card").first
    _stop(stopped, "queued", "no worker was needed, LLM was not asked")
    expect(drawn).to_have_attribute("data-state", "drawing", timeout=15_000)
    hatch(page, "a fish half written")
    _stop(stopped, "writing", "no worker was needed, LLM closed")
    hatch(page, "a fish without a painter")
    _stop(stopped, "waiting", "no worker was needed, LLM closed")
    _stop(drawn, "drawing", "worker idle, model kept, LLM closed")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_the_bar_claims_no_more_than_is_known(open_page: Open) -> None:
    """A number only where there is one: measured as it is, estimated with a sign, indeterminate not at all."""
    page = open_page()
    seen = page.evaluate(
        """async () => {
            const { ProgressBar } = await import("/assets/progressbar.js");
            const bar = new ProgressBar("Progress");
            const track = bar.element.querySelector("[role=progressbar]");
            const said = (kind) => bar.element.querySelector(kind).textContent;
            const steps = { step: 2, steps: 8, stepS: 3.25, etaS: [20, 26] };
            const view = { state: "drawing", stage: "steps", percent: 48.7, ...steps };
            return ["measured", "estimated", "indeterminate"].map((basis) => {
                bar.show({ ...view, basis });
                const claim = track.getAttribute("aria-valuenow");
                return [track.dataset.basis, claim, said(".bar-percent"), said(".bar-facts")];
            });
        }"""
    )
    facts = "step 2 of 8 · 3.3 s a step · 20–26 s left"
    assert seen == [
        ["measured", "48", "48 %", facts],
        ["estimated", "48", "≈ 48 %", facts],
        ["indeterminate", None, "", facts],
    ]


def test_many_hatches_are_cards_the_newest_first(open_page: Open) -> None:
    page = open_page()
    for number in range(4):
        hatch(page, f"fish number {number}", steps=LONG)
    expect(page.locator(".card-prompt")).to_have_text([f"fish number {number}" for number in (3, 2, 1, 0)])
    page.locator(".card", has_text="fish number 1").get_by_role("button", name="Stop").click()
    expect(page.locator(".card[data-state=cancelled] .card-prompt")).to_have_text("fish number 1")
    expect(page.locator(".card[data-state=drawing]")).to_have_count(3)


def test_a_refused_hatch_leaves_its_reason_and_no_card(open_page: Open) -> None:
    page = open_page()
    hatch(page, "the first", steps=LONG)
    expect(page.locator(".card")).to_have_attribute("data-state", "drawing")
    page.evaluate("localStorage.setItem('hatchery.settings', JSON.stringify({ size: '4096x4096' }))")
    page.reload()
    hatch(page, "one that is too large")
    expect(page.get_by_role("alert")).to_contain_text("4096")
    expect(page.locator(".card-prompt")).to_have_text(["the first"])


@pytest.fixture
def hostile_llm() -> Iterator[str]:
    """An LLM server whose persona is markup wherever it can be."""
    fields = dict.fromkeys(("tagline", "backstory", "greeting", "system_prompt", "avatar_prompt"), HOSTILE)
    persona = msgspec.structs.replace(
        PERSONA, name="<b>Wren</b>", traits=["<i>sly</i>", "<u>bold</u>", "odd"], **fields
    )
    text = json.dumps(msgspec.to_builtins(persona))
    pieces = [{"delta": {"content": text[i : i + 12]}, "finish_reason": None} for i in range(0, len(text), 12)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b'{"object": "list", "data": [{"id": "hostile"}]}', "application/json")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            choices = [*pieces, {"delta": {}, "finish_reason": "stop"}]
            events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
            self._answer("".join([*events, "data: [DONE]\n\n"]).encode(), "text/event-stream")

        def _answer(self, body: bytes, media_type: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_what_an_llm_writes_is_text_and_never_markup(open_page: Open, serve: Serve, hostile_llm: str) -> None:
    page = open_page(serve(llm=hostile_llm))
    hatch(page, HOSTILE)
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".name")).to_have_text("<b>Wren</b>")
    for field in (".tagline", ".backstory", ".greeting", ".card-prompt"):
        expect(card.locator(field)).to_have_text(HOSTILE)
    card.get_by_role("button", name="Open").click()
    expect(page.get_by_role("dialog").locator(".backstory")).to_have_text(HOSTILE)
    assert page.locator("img[src=x], main script, dialog script, .persona b, .traits i").count() == 0
    assert "taken" not in page.title().split(":")[0]


def _stop(card: Locator, state: str, receipt: str) -> None:
    expect(card).to_have_attribute("data-state", state, timeout=15_000)
    card.get_by_role("button", name="Stop").click()
    expect(card).to_have_attribute("data-state", "cancelled")
    expect(card.locator(".outcome")).to_have_text(re.compile(r"^Stopped in \d+ ms$"))
    expect(card.locator(".receipt")).to_have_text(receipt)
