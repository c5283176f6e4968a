"""What the page costs a browser, against its bars: `python -m tests.bench.page`.

Bytes and time until it can be used, how far things move while a hatch runs, and how busy its main thread is with
ten hatches that bring 60 updates a second. Simulated engines, loopback, the Chromium of the path.
"""

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, WebSocket, expect
from rich.console import Console
from rich.table import Table

from tests.helpers.browsing import LONG, SHIFTS, cancel_all, chromium, hatch, serving_child, shifted

LOADS: Final = 5
HATCHES: Final = 10
UPDATES_PER_S: Final = 60
MEASURED_S: Final = 10
SETTINGS: Final = {
    "HATCHERY_LLM_SLOTS": str(HATCHES),
    "HATCHERY_IMAGE_SLOTS": str(HATCHES),
    "HATCHERY_SIM_TOKENS_PER_S": "100",
    "HATCHERY_SIM_STEP_S": str(HATCHES / (UPDATES_PER_S + 3)),  # a step is often late and never early
    "HATCHERY_SIM_JITTER": "0",
}

# Before anything of the page runs: when it is connected and takes a prompt.
WATCH: Final = """
window.ready = new Promise((resolve) => addEventListener("DOMContentLoaded", () => {
    const link = document.getElementById("link");
    new MutationObserver(() => link.dataset.state === "open" && resolve(performance.now())).observe(link, {
        attributeFilter: ["data-state"],
    });
}));
"""
BYTES: Final = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter(({ name }) => !new URL(name).pathname.startsWith("/v1/"))
    .reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0)"""


def measure(browser: Browser, url: str) -> Table:
    """All of it, as a table of figure and bar."""
    table = Table("measure", "seen", "bar", title=f"The page, Chromium {browser.version}")
    loads = [_load(browser, url) for _ in range(LOADS)]
    table.add_row("bytes of the page, uncompressed", f"{max(size for size, _ in loads):,}", "< 150,000")
    times = sorted(ms for _, ms in loads)
    table.add_row("ready to use, ms", f"{statistics.median(times):.0f} ({times[0]:.0f}–{times[-1]:.0f})", "< 1000")
    table.add_row("layout shift of a hatch, prompt to picture", f"{_shift(browser, url):.4f}", "< 0.0005")
    seen, busy = _crowd(browser, url)
    table.add_row(f"updates a second, {HATCHES} hatches", f"{seen:.0f}", f"≥ {UPDATES_PER_S}")
    table.add_row("main thread at that, CPU", f"{busy:.1%}", "< 20 %")
    return table


def _load(browser: Browser, url: str) -> tuple[int, float]:
    """As a stranger: bytes of the files, and milliseconds until the page is connected."""
    page = _open(browser, url)
    ready_ms: float = page.evaluate("ready")
    size: int = page.evaluate(BYTES)
    page.context.close()
    return size, ready_ms


def _shift(browser: Browser, url: str) -> float:
    page = _open(browser, url)
    page.evaluate("ready")
    hatch(page, "a moth who repairs watches", steps=20)
    expect(page.locator(".card")).to_have_attribute("data-state", "done", timeout=60_000)
    page.wait_for_timeout(2_000)  # while it hatches
    moved = shifted(page)
    page.context.close()
    return moved


def _crowd(browser: Browser, url: str) -> tuple[float, float]:
    """Updates that come in a second, and the share of its time that the main thread then computes."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    updates: list[str] = []
    page.on("websocket", lambda socket: _count(socket, updates))
    page.goto(url)
    for number in range(HATCHES):
        hatch(page, f"moth number {number}", steps=LONG)
    expect(page.locator(".card[data-state=drawing]")).to_have_count(HATCHES, timeout=60_000)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable", {"timeDomain": "threadTicks"})  # time computed, not time waited for a processor
    before, came = _metrics(cdp.send("Performance.getMetrics")), len(updates)
    page.wait_for_timeout(MEASURED_S * 1000)
    after = _metrics(cdp.send("Performance.getMetrics"))
    seconds = after["Timestamp"] - before["Timestamp"]
    seen = (len(updates) - came) / seconds
    cancel_all(url)
    page.context.close()
    return seen, (after["TaskDuration"] - before["TaskDuration"]) / seconds


def _open(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(WATCH)
    page.add_init_script(SHIFTS)
    page.goto(url)
    return page


def _count(socket: WebSocket, updates: list[str]) -> None:
    def take(frame: str | bytes) -> None:
        updates.extend(message["type"] for message in json.loads(frame) if message["type"] in ("progress", "text"))

    socket.on("framereceived", take)


def _metrics(answer: Mapping[str, Any]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in answer["metrics"]}


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as data,
        serving_child(Path(data), SETTINGS, llm="sim", image="sim") as gateway,
        chromium() as browser,
    ):
        Console().print(measure(browser, gateway.url))
