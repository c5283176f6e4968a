"""`hatchery load`: a gateway, ours or another's, a swarm on it, and the report of what that has shown."""

import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Final, Literal

import msgspec
import trio
from rich.console import Console, RenderableType
from rich.live import Live

from gateway.load.invariants import Violation
from gateway.load.line import Address, Refused
from gateway.load.measures import Measures
from gateway.load.observer import Observer, open_http
from gateway.load.own import NoGateway, open_own_gateway
from gateway.load.page import report_page
from gateway.load.probe import NoAnswer, audit_sessions, greet, time_pings
from gateway.load.profile import Profile, ProfileError, load_profile
from gateway.load.report import Readings, Report, make_report
from gateway.load.swarm import Swarm
from gateway.load.table import live_table, report_table
from gateway.load.usage import pin
from gateway.rlimits import raise_open_files
from protocol.events import Welcome

_ADDRESS: Final = re.compile(r"(https?|wss?)://[^\s/?#@]+/?")
FINE, BROKEN, REFUSED = 0, 1, 2


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for; no `url` means a gateway of our own."""

    profile: str
    url: str | None = None
    engines: Literal["sim", "demo"] = "sim"
    token: str = ""
    json: Path | None = None
    html: Path | None = None


class _Target(msgspec.Struct, frozen=True):
    address: Address
    pid: int | None
    welcome: Welcome


async def run_load(order: Order) -> int:
    """Run and report; returns 0, 1 when an invariant broke, 2 for what cannot be. Raises OSError for its files."""
    raise_open_files()
    console = Console()
    try:
        profile = load_profile(order.profile)
        async with _open_target(order, profile) as target:
            report = await _run(order, profile, target, console)
    except (ProfileError, NoGateway, _Unreachable) as error:
        print(f"hatchery: {error}", file=sys.stderr)
        return REFUSED
    if order.json is not None:
        await trio.Path(order.json).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    if order.html is not None:
        await trio.Path(order.html).write_text(report_page(report), encoding="utf-8")
    console.print(report_table(report))
    return BROKEN if report.broken else FINE


class _Unreachable(Exception):
    """There is no gateway to be tested; the message says what to do."""


@asynccontextmanager
async def _open_target(order: Order, profile: Profile) -> AsyncIterator[_Target]:
    """The gateway that is tested. Raises NoGateway or _Unreachable."""
    if order.url is not None:
        if not _ADDRESS.fullmatch(order.url):
            raise _Unreachable(f"{order.url!r} is no address of a gateway, such as http://127.0.0.1:8642")
        address = Address(order.url.rstrip("/"), order.token)
        yield _Target(address, None, await _greet(address))
        return
    async with open_own_gateway(profile, order.engines) as own:
        if profile.pin:
            pin(own.pid, 0)
            pin(0, 1)
        address = Address(own.url)
        yield _Target(address, own.pid, await _greet(address))


async def _greet(address: Address) -> Welcome:
    try:
        return await greet(address)
    except (Refused, NoAnswer) as error:
        raise _Unreachable(
            f"no gateway at {address.url}: {error}; start `hatchery serve --llm sim --image sim` there,"
            " or leave the address out to test one of our own"
        ) from error


async def _run(order: Order, profile: Profile, target: _Target, console: Console) -> Report:
    measures = Measures()
    swarm = Swarm(profile, target.address, measures, token_hex(4))
    async with open_http(target.address) as http:
        observer = Observer(http, target.pid, measures)

        def render() -> RenderableType:
            return live_table(order.profile, profile, swarm.phase, measures, observer.samples)

        with _open_display(console, render) as show:
            idle = await observer.read()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_close_on_interrupt, swarm)
                await swarm.connect(nursery)
                connected = await observer.read()
                nursery.start_soon(observer.run, show)
                nursery.start_soon(time_pings, target.address, measures)
                await swarm.play()
                over = await observer.read()
                nursery.cancel_scope.cancel()
            swarm.phase = "auditing"
            show()
            await audit_sessions(target.address, swarm.testimonies, measures)
    if target.pid is not None and observer.peak_rss > profile.memory_mib * 2**20:
        detail = f"{observer.peak_rss / 2**20:.1f} MiB, more than {profile.memory_mib:g}"
        measures.violate(Violation("memory", "", detail))
    engines = target.welcome.engines
    return make_report(
        version=version("hatchery"),
        url=target.address.url,
        own_gateway=target.pid is not None,
        server=target.welcome.server,
        engines=f"writer {engines.llm}, painter {engines.image}",
        profile_name=order.profile,
        profile=profile,
        measures=measures,
        observer=observer,
        readings=Readings(idle=idle, connected=connected, over=over),
    )


async def _close_on_interrupt(swarm: Swarm) -> None:
    """The first Ctrl-C ends the arrivals, and what runs is finished and reported; a second one is Python's own."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            swarm.close()
            break


@contextmanager
def _open_display(console: Console, render: Callable[[], RenderableType]) -> Iterator[Callable[[], None]]:
    """A live table where there is a terminal; what is yielded draws it anew."""
    if not console.is_terminal:
        yield lambda: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda: live.update(render(), refresh=True)
