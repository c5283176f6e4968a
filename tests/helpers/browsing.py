"""A real Chromium in front of a real gateway, a child process; and what tests do beside looking."""

import base64
import json
import os
import re
import signal
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
SHIFTS: Final = """window.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().filter((entry) => !entry.hadRecentInput)))
    .observe({ type: "layout-shift", buffered: true });"""  # before anything of a page runs
_RUNNING: Final = "queued,writing,waiting,drawing,cancelling"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of the path; see `require` for a machine that has none."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Served:
    """A gateway as a child process, with no settings but these; it can be ended and begun again where it was."""

    def __init__(self, data: Path, environ: Mapping[str, str], *, llm: str, image: str) -> None:
        self._arguments = ["serve", "--data", str(data), "--llm", llm, "--image", image]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HATCHERY_")}
        self._environ = {**inherited, "HATCHERY_SERVER_DRAIN_S": "0", **environ}
        self._gateway = self._begin(port=0)
        self.url = self._wait_until_it_listens()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, and wait until the process is gone."""
        self._gateway.send_signal(how)
        self._gateway.communicate(timeout=30)

    def begin_again(self, environ: Mapping[str, str] | None = None) -> None:
        """With the same data on the same port, and what `environ` changes of the settings; it has ended before."""
        self._environ |= environ or {}
        self._gateway = self._begin(port=int(self.url.rpartition(":")[2]))
        self._wait_until_it_listens()

    def _begin(self, port: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [HATCHERY, *self._arguments, "--port", str(port)],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _wait_until_it_listens(self) -> str:
        assert self._gateway.stdout is not None
        for line in self._gateway.stdout:
            if said := re.search(r"listens at (\S+)", line):
                return said[1]
        raise AssertionError("the gateway ended before it listened")


@contextmanager
def serving_child(data: Path, environ: Mapping[str, str], *, llm: str, image: str) -> Iterator[Served]:
    """A gateway that runs, from some moment on, while the block does."""
    gateway = Served(data, environ, llm=llm, image=image)
    try:
        yield gateway
    finally:
        gateway.end()


def hatch(page: Page, prompt: str, *, steps: int | None = None) -> None:
    """Ask for a hatch as people do."""
    if steps is not None:
        if page.locator("#options").is_hidden():
            page.get_by_role("button", name="Options").click()
        page.get_by_label("Steps").fill(str(steps))
    page.get_by_label("Describe an agent").fill(prompt)
    page.get_by_role("button", name="Hatch", exact=True).click()


def drop(page: Page, data: bytes, name: str, kind: str) -> None:
    """Let a file of this name and media type fall onto the page."""
    page.evaluate(
        """([data, name, type]) => {
            const dataTransfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            dataTransfer.items.add(new File([bytes], name, { type }));
            for (const kind of ["dragenter", "dragover", "drop"]) {
                const options = { dataTransfer, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new DragEvent(kind, options));
            }
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )


def shifted(page: Page) -> float:
    """How far things have moved since it was last asked, without anybody's doing; with `SHIFTS` in the page."""
    moved: float = page.evaluate("shifts.splice(0).reduce((sum, { value }) => sum + value, 0)")
    return moved


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
