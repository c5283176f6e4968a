"""Who comes in: by a token, by a link for watching, or from a page of another origin."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import expect

from gateway.access.auth import new_token
from tests.browser.conftest import QUICK, Open, Serve
from tests.helpers.browsing import LONG, hatch, serving_child

TOKEN, TOKEN_LINE = new_token("alice")
REFUSED: Final = "status of 401|status of 403|blocked by CORS policy|ERR_FAILED|WebSocket connection"

# What a page of one's own does with the client and a token; each part says how it ended.
FOREIGN: Final = r"""async ([url, token]) => {
    const { connect } = await import("./client.js");
    const headers = { Authorization: `Bearer ${token}` };
    const outcome = async (act) => { try { return await act(); } catch (error) { return "refused"; } };
    const client = connect(url, { token });
    const opened = new Promise((resolve) => client.addEventListener("status", () => {
        if (client.status.state !== "connecting") resolve(client.status.state);
    }));
    const picture = (src) => new Promise((resolve, reject) => {
        const image = Object.assign(new Image(), { crossOrigin: "anonymous", src });
        image.onload = () => resolve(image.naturalWidth > 0 ? "shown" : "empty");
        image.onerror = reject;
    });
    const socket = await opened;
    const hatched = socket === "open" ? (await client.hatch("a fish from abroad").done).outcome : "refused";
    const seen = {
        socket, hatched,
        picture: await outcome(async () => {
            const { items } = await (await fetch(`${url}/v1/agents`, { headers })).json();
            return picture(new URL(items[0].avatar_url, url));
        }),
        events: await outcome(async () => {
            const body = JSON.stringify({ prompt: "a fish by post" });
            const json = { ...headers, "Content-Type": "application/json" };
            const asked = await fetch(`${url}/v1/hatches`, { method: "POST", body, headers: json });
            const { session } = await asked.json();
            const events = await fetch(`${url}/v1/hatches/${session}/events`, { headers });
            return (await events.text()).match(/"outcome":"(\w+)"/)[1];
        }),
    };
    client.close();
    return seen;
}"""


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> str:
    """The URL of a gateway that lets in who has a token."""
    return serve({"HATCHERY_ACCESS_TOKENS": TOKEN_LINE})


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


def test_a_token_is_asked_for_once(open_page: Open, guarded: str) -> None:
    page = open_page(guarded, connected=False, expected="status of 401")
    dialog = page.get_by_role("dialog", name="Log in")
    dialog.get_by_label("Token").fill("hatchery_of_somebody_else")
    dialog.get_by_label("Token").press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("This token is not known here.")
    expect(page.locator("#agents li")).to_have_count(0)
    dialog.get_by_label("Token").fill(TOKEN)
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


def test_a_page_from_elsewhere_gets_everything_once_its_origin_is_allowed(open_page: Open, tmp_path: Path) -> None:
    """Another port is another origin. Before it is allowed, the token does not help."""
    settings = {**QUICK, "HATCHERY_ACCESS_TOKENS": TOKEN_LINE}
    with (
        _elsewhere(tmp_path / "site") as elsewhere,
        serving_child(tmp_path / "data", settings, llm="sim", image="sim") as gateway,
    ):
        page = open_page(elsewhere, connected=False, expected=REFUSED)
        before = page.evaluate(FOREIGN, [gateway.url, TOKEN])
        gateway.end()
        gateway.begin_again({"HATCHERY_SERVER_ALLOWED_ORIGINS": elsewhere})
        after = page.evaluate(FOREIGN, [gateway.url, TOKEN])
    assert before == {"socket": "waiting", "hatched": "refused", "picture": "refused", "events": "refused"}
    assert after == {"socket": "open", "hatched": "done", "picture": "shown", "events": "done"}


@contextmanager
def _elsewhere(site: Path) -> Iterator[str]:
    """The origin of a web server that has nothing but an empty page and the client."""
    site.mkdir()
    (site / "index.html").write_text(
        "<!doctype html><title>Elsewhere</title><link rel=icon href=data:,>", encoding="utf-8"
    )
    for name in ("client.js", "hatch.js", "view.js"):
        (site / name).write_bytes((resources.files("gateway") / "web" / name).read_bytes())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
