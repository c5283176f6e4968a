"""A real Chromium in front of a real gateway, a child process; and what tests do beside looking."""

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from tests.helpers.children import HATCHERY
from tests.helpers.required import require

LONG: Final = 100  # steps of a hatch that does not end by itself while a test looks at it
_RUNNING: Final = "queued,writing,waiting,drawing,cancelling"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of the path; see `require` for a machine that has none."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving_child(data: Path, environ: Mapping[str, str], *, llm: str, image: str) -> Iterator[str]:
    """The URL of a gateway that runs, with no settings but these, while the block does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HATCHERY_")}
    gateway = subprocess.Popen(
        [HATCHERY, "serve", "--port", "0", "--data", data, "--llm", llm, "--image", image],
        env={**inherited, "HATCHERY_SERVER_DRAIN_S": "0", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert gateway.stdout is not None
    try:
        said = [re.search(r"listens at (\S+)", gateway.stdout.readline())]
        while said[-1] is None and gateway.poll() is None:
            said.append(re.search(r"listens at (\S+)", gateway.stdout.readline()))
        assert said[-1] is not None, "the gateway ended before it listened"
        yield said[-1][1]
    finally:
        gateway.terminate()
        gateway.communicate(timeout=30)


def hatch(page: Page, prompt: str, *, steps: int | None = None) -> None:
    """Ask for a hatch as people do."""
    if steps is not None:
        if page.locator("#options").is_hidden():
            page.get_by_role("button", name="Options").click()
        page.get_by_label("Steps").fill(str(steps))
    page.get_by_label("Describe an agent").fill(prompt)
    page.get_by_role("button", name="Hatch", exact=True).click()


def hatch_beside(url: str, body: Any) -> None:
    """Hatch without the page, and wait for the end."""
    session = ask(f"{url}/v1/hatches", body)["session"]
    with urllib.request.urlopen(f"{url}/v1/hatches/{session}/events", timeout=60) as events:
        assert any(b'"outcome":"done"' in line for line in events)


def cancel_all(url: str) -> None:
    """Leave nothing running for the next test."""
    for item in ask(f"{url}/v1/hatches?states={_RUNNING}")["items"]:
        ask(f"{url}/v1/hatches/{item['session']}", method="DELETE")
        with urllib.request.urlopen(f"{url}/v1/hatches/{item['session']}/events", timeout=60) as events:
            events.read()  # up to its `end`


def ask(url: str, body: Any = None, *, method: str | None = None) -> Any:
    """One request to the gateway, and the JSON of its answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())
