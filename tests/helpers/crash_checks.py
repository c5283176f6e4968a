"""What must be true once a gateway, or something that works for it, was killed in the middle of many hatches."""

from collections.abc import Sequence

import httpx2
import msgspec

from actors.census import belonging, census
from actors.store.store import Store, StoreSettings, open_store
from protocol.events import Artifact, End, Reliable
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Ledger, Persistent, Site
from tests.helpers.wire import Message, open_wire


def persistent_clients(site: Site, count: int, hatches: int, **options: Message) -> list[Persistent]:
    """So many clients, each of which wants so many hatches; `options` are the same for all of them."""
    return [
        Persistent(
            site, {f"{n}-{m}": {"prompt": f"the {m}th creature of person {n}", **options} for m in range(hatches)}
        )
        for n in range(count)
    ]


async def check_gateway(site: Site, ledgers: Sequence[Ledger]) -> None:
    """One session a key, whoever asks again; and every picture that was ever shown is still there by its old URL."""
    async with open_wire(site.url) as wire, httpx2.AsyncClient(base_url=site.url, trust_env=False) as http:
        listed = await wire.ask("list", limit=1000)
        sessions = [session for ledger in ledgers for session in ledger.sessions.values()]
        assert sorted(item["session"] for item in listed["items"]) == sorted(sessions)
        for url in {
            artifact.url for ledger in ledgers for s in ledger.sessions.values() for artifact in ledger.artifacts(s)
        }:
            assert (await http.get(url)).status_code == 200


async def check_leftovers(site: Site, ledgers: Sequence[Ledger]) -> None:
    """Once the gateway is gone: no process of it is left, and its store is whole and agrees with every client."""
    place = site.data.stat()
    assert belonging(census(), f"{place.st_dev:x}-{place.st_ino:x}", {}, ()) == set()
    async with open_store(site.data, lambda *_: None, settings=StoreSettings(), now_s=lambda: 0.0) as store:
        await _check_store(store, ledgers)


async def _check_store(store: Store, ledgers: Sequence[Ledger]) -> None:
    """It is whole, and tells of every session what its client was told, event by event."""
    assert await store.check() == []
    assert store.log.unfinished() == []
    for ledger in ledgers:
        for session in ledger.sessions.values():
            check_messages(ledger.of(session), session)
            kept = await store.log.tail(session, 0)
            assert [message.seq for message in kept] == list(range(1, len(kept) + 1))
            assert [type(message) for message in kept].count(End) == 1
            by_seq = {message.seq: _plain(message) for message in kept}
            for message in ledger.reliable(session):
                assert _plain(message) == by_seq[message.seq]
            end = ledger.end(session)
            assert end is not None
            assert _plain(end) == by_seq[len(kept)]


def _plain(message: Reliable) -> Reliable:
    return msgspec.structs.replace(message, url="") if isinstance(message, Artifact) else message
