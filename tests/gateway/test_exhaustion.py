"""A real gateway that runs out of descriptors, terminals or room: coded errors, and all is well once there is more."""

import contextlib
import errno
import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import trio

from actors.store.schema import connect
from actors.store.sql import select_one
from actors.store.store import DATABASE
from gateway.serve import Gateway
from protocol.events import End
from tests.helpers.children import Child
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Site
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import Message, Wire, open_wire

FAST: Final = {"HATCHERY_SIM_TOKENS_PER_S": "2000", "HATCHERY_IMAGE_SLOTS": "2", "HATCHERY_LLM_SLOTS": "4"}
ENGINES: Final = ("--llm", "sim", "--image", "demo")  # the demo painter is a child on a terminal of its own
LONG: Final = {"steps": 6}
SHORT: Final = {"steps": 2}
ONE_TERMINAL: Final = (
    "mount -t devpts -o newinstance,ptmxmode=0666,max=1 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx"
)
SMALL_DISK: Final = "mount -t tmpfs -o size=24m tmpfs data"

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process limit another")


def in_a_namespace(preparation: str) -> tuple[str, ...]:
    """A command that runs another one where these mounts hold, which nobody else sees."""
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", f'{preparation} && exec "$@"', "sh")


def _may_unshare() -> bool:
    try:
        return subprocess.run([*in_a_namespace(ONE_TERMINAL), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


# Where there are none, the last two tests have the error injected, and test_restart.py a limit on the size of files.
needs_namespaces = pytest.mark.skipif(not _may_unshare(), reason="no namespaces for this user here")


@asynccontextmanager
async def living(site: Site) -> AsyncIterator[Child]:
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            child: Child = await nursery.start(site.run)
            yield child
            assert child.process.returncode is None
            nursery.cancel_scope.cancel()


async def begin(wire: Wire, prompt: str, image: Message) -> str:
    accepted = await wire.ask("start", hatch={"prompt": prompt, "image": image})
    assert accepted["type"] == "accepted", accepted
    session: str = accepted["session"]
    return session


async def begin_drawing(wire: Wire) -> str:
    """A hatch whose painter is at work, and will be for a while."""
    session = await begin(wire, "a fox", LONG)
    await _draws(wire, session)
    return session


async def is_done(wire: Wire, session: str) -> None:
    assert (await wire.end(session))["outcome"] == "done"
    check_messages(wire.typed(), session)


async def fails(wire: Wire, session: str, advice: str) -> None:
    end = await wire.end(session)
    assert (end["outcome"], end["error"]["code"]) == ("failed", "image_unavailable"), end
    assert advice in end["error"]["message"]
    check_messages(wire.typed(), session)


@contextlib.contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """Another process can open nothing more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    lowest_free = next(number for number in itertools.count() if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@linux
async def test_without_descriptors_hatches_fail_by_name_and_clients_wait(tmp_path: Path) -> None:
    site = Site(tmp_path, FAST, *ENGINES)
    welcomed = trio.Event()

    async def come_late() -> None:
        async with open_wire(site.url):
            welcomed.set()

    async with living(site) as child, open_wire(site.url) as wire, trio.open_nursery() as nursery:
        running = await begin_drawing(wire)
        with no_more_files(child.process.pid):
            await fails(wire, await begin(wire, "a bear", SHORT), "the picture's files cannot be written")
            nursery.start_soon(come_late)
            await child.until("accept_paused", stream="err")
            assert (await wire.ask("ping"))["type"] == "pong"
            assert not welcomed.is_set()
        await welcomed.wait()
        await is_done(wire, await begin(wire, "a bear", SHORT))
        await is_done(wire, running)
        assert child.err.count("accept_paused") == 1, "said once, not ten times a second"


@needs_namespaces
async def test_without_a_terminal_a_hatch_fails_by_name_and_the_next_one_is_drawn(tmp_path: Path) -> None:
    site = Site(tmp_path, FAST, *ENGINES, within=in_a_namespace(ONE_TERMINAL))
    async with living(site), open_wire(site.url) as wire:
        running = await begin_drawing(wire)
        await fails(wire, await begin(wire, "a bear", SHORT), "no pseudo-terminal is left")
        await is_done(wire, running)
        await is_done(wire, await begin(wire, "a bear", SHORT))


@needs_namespaces
async def test_on_a_full_disk_nothing_is_lost_and_with_room_again_all_goes_on(tmp_path: Path) -> None:
    site = Site(tmp_path, FAST, *ENGINES, within=in_a_namespace(SMALL_DISK))
    site.data.mkdir()
    async with living(site) as child, open_wire(site.url) as wire, httpx2.AsyncClient(trust_env=False) as http:
        running = await begin_drawing(wire)
        filler = Path(f"/proc/{child.process.pid}/root{site.data}/filler")
        fill(filler)
        refused = await wire.ask("start", hatch={"prompt": "a bear"})
        assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "overloaded", True)
        assert (await http.get(f"{site.url}/readyz")).status_code == 503
        assert (await wire.ask("ping"))["type"] == "pong"
        os.unlink(filler)
        await is_done(wire, running)
        await is_done(wire, await begin(wire, "a bear", SHORT))
        assert (await http.get(f"{site.url}/readyz")).status_code == 200


@needs_namespaces
async def test_on_a_disk_that_stays_full_hatches_fail_durably_and_with_room_again_all_goes_on(tmp_path: Path) -> None:
    pace = {**FAST, "HATCHERY_SIM_STEP_S": "600", "HATCHERY_IMAGE_SLOTS": "1", "HATCHERY_HATCH_UNWRITABLE_S": "1"}
    site = Site(tmp_path, pace, "--llm", "sim", "--image", "sim", within=in_a_namespace(SMALL_DISK))
    site.data.mkdir()
    async with living(site) as child, open_wire(site.url) as wire, httpx2.AsyncClient(trust_env=False) as http:
        seen = Path(f"/proc/{child.process.pid}/root{site.data}")
        drawing = await begin(wire, "a fox", LONG)
        await wire.until(lambda m: m["type"] == "state" and m["session"] == drawing and m["state"] == "drawing")
        waiting = await begin(wire, "a bear", LONG)
        await wire.until(lambda m: m["type"] == "state" and m["session"] == waiting and m["state"] == "waiting")
        fill(seen / "filler")
        refused = await wire.ask("start", hatch={"prompt": "an owl"})
        assert (refused["type"], refused["code"]) == ("error", "overloaded")
        for session in (drawing, waiting):
            end = await wire.end(session)
            assert (end["outcome"], end["error"]["code"], end["error"]["retryable"]) == ("failed", "overloaded", True)
            assert "takes no writes" in end["error"]["message"]
            assert _kept_state(seen, tmp_path / "copy", session) == "failed", "durable on a disk that is full"
            check_messages(wire.typed(), session)
        assert (await http.get(f"{site.url}/readyz")).status_code == 503
        assert (await wire.ask("start", hatch={"prompt": "an owl"}))["code"] == "overloaded"
        os.unlink(seen / "filler")
        while (await http.get(f"{site.url}/readyz")).status_code != 200:  # noqa: ASYNC110 - another program's
            await trio.sleep(0.05)
        await begin(wire, "an owl", SHORT)


def _kept_state(data: Path, copy: Path, session: str) -> str:
    """What the next gateway would find; of a copy, since SQLite does not see through the namespace's root."""
    copy.mkdir(exist_ok=True)
    for name in (DATABASE, f"{DATABASE}-wal"):
        shutil.copy(data / name, copy / name)
    connection = connect(copy / DATABASE)
    try:
        state: str = select_one(connection, "SELECT state FROM sessions WHERE session = ?", (session,))
        return state
    finally:
        connection.close()


async def test_a_store_that_stays_read_only_has_hatches_fail_and_keeps_that_when_it_is_mended(tmp_path: Path) -> None:
    pace: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.2, "image__slots": 2, "hatch__unwritable_s": 3}
    async with running_gateway(tmp_path, **pace) as gateway, open_wire(gateway.url) as wire:
        running = [await begin(wire, "a fox", {"steps": steps}) for steps in (100, 4)]  # the second one gets done
        for session in running:
            await _draws(wire, session)
        await _let_write(gateway, False)
        refused = await wire.ask("start", hatch={"prompt": "a bear"})
        assert (refused["type"], refused["code"]) == ("error", "overloaded")
        for session in running:
            with trio.fail_after(20):
                end = await wire.end(session)
            assert (end["outcome"], end["error"]["code"]) == ("failed", "overloaded"), end
            check_messages(wire.typed(), session)
            assert (await wire.ask("watch", session=session))["state"] == "failed"
        workshop = gateway.services.sessions.workshop
        assert [slots.held for slots in (workshop.llm_slots, workshop.render_slots)] == [0, 0]
        await _let_write(gateway, True)
        store = gateway.services.store
        assert store is not None
        with trio.fail_after(20):
            while not store.healthy:  # noqa: ASYNC110 - a thread of the store changes it
                await trio.sleep(0.05)
        for session in running:
            assert isinstance((await store.log.tail(session, 0))[-1], End)
        await is_done(wire, await begin(wire, "a bear", SHORT))


async def test_a_store_that_turns_read_only_stops_no_gateway_and_with_it_mended_all_goes_on(tmp_path: Path) -> None:
    pace: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.2, "sim__steps": 4}
    async with (
        running_gateway(tmp_path, **pace) as gateway,
        open_wire(gateway.url) as wire,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http,
    ):
        running = await begin_drawing(wire)
        await _let_write(gateway, False)
        refused = await wire.ask("start", hatch={"prompt": "a bear"})
        assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "overloaded", True)
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "cannot write")
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get(f"/v1/hatches/{running}")).json()["state"] == "drawing", "what is there can be read"
        await wire.until(lambda m: m["type"] == "progress" and m["session"] == running and m["stage"] == "decoding")
        assert not wire.of(running, "end"), "what is not kept is not told"
        await _let_write(gateway, True)
        await is_done(wire, running)
        assert (await http.get("/readyz")).status_code == 200
        await is_done(wire, await begin(wire, "a bear", SHORT))


async def _draws(wire: Wire, session: str) -> None:
    await wire.until(lambda m: m["type"] == "progress" and m["session"] == session and m.get("step", 0) >= 1)


async def _let_write(gateway: Gateway, allowed: bool) -> None:
    """Every write to the database is refused by SQLite itself, as on a file system that was remounted read-only."""
    assert gateway.services.store is not None
    database = gateway.services.store._database
    async with database._writing:  # the connection belongs to one thread at a time
        database._writer.pragma("query_only", int(not allowed))


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


async def test_a_painter_that_gets_no_terminal_is_not_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pace: dict[str, Any] = {"sim__tokens_per_s": 2000, "llm__engine": "sim", "image__engine": "demo"}
    async with running_gateway(tmp_path, **pace) as gateway, open_wire(gateway.url) as wire:
        for number in (errno.ENOSPC, errno.EAGAIN, errno.EMFILE):
            with monkeypatch.context() as patched:
                patched.setattr("actors.spawn.os.openpty", partial(_refuse, number))
                await fails(wire, await begin(wire, "a bear", SHORT), "use fewer render slots")
        await is_done(wire, await begin(wire, "a bear", SHORT))


def _refuse(number: int) -> tuple[int, int]:
    raise OSError(number, os.strerror(number))
