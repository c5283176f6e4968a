from pathlib import Path

import msgspec
import pytest

from actors.store.schema import MIGRATIONS, connect, migrate
from actors.store.store import DATABASE, Store
from protocol import mail
from protocol.errors import Invalid, NotFound
from protocol.lifecycle import Lifecycle
from tests.actors.store.stores import hatch, opened, say
from tests.helpers.fakes import ENGINES, PAINTER, PERSONA, PICTURE, WRITER, record_of

WREN = msgspec.structs.replace(PERSONA, name="Wren", species="paper fox", backstory="Él vivió en Ñuñoa.")


async def found(store: Store, query: str = "", owner: str = "ann") -> list[str]:
    gallery = await store.agents.list(owner, query=query, limit=100, before=None)
    return [agent.agent for agent in gallery.items]


async def test_every_hatch_that_is_done_leaves_an_agent(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        agent = await store.agents.get("ann", "s1")
        assert (agent.agent, agent.owner, agent.persona, agent.prompt) == ("s1", "ann", PERSONA, "an owl")
        assert (agent.engines, agent.avatar, agent.seed) == (ENGINES, PICTURE.sha256, None)
        end = (await store.log.view("s1")).end
        assert end is not None
        assert end.agent == "s1"


async def test_an_agent_tells_who_made_it_with_what(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1", picture=msgspec.structs.replace(PICTURE, painter=PAINTER, seed=7, steps=4))
    async with opened(tmp_path) as store:
        agent = await store.agents.get("ann", "s1")
        assert (agent.writer, agent.painter, agent.seed, agent.steps) == (WRITER, PAINTER, 7, 4)


async def test_a_persona_that_was_given_has_no_writer(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.log.create(record_of(persona=PERSONA))
        lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=PERSONA, now=0.0)
        await say(store.log, "s1", [lifecycle.begin(), lifecycle.handle(PICTURE, 1.0), lifecycle.finish(None, 2.0)])
        assert (await store.agents.get("ann", "s1")).writer is None


async def test_an_agent_of_an_earlier_hatchery_is_still_found_and_what_it_did_not_keep_is_unknown(
    tmp_path: Path,
) -> None:
    connection = connect(tmp_path / DATABASE)
    migrate(connection, MIGRATIONS[:1])
    connection.execute("INSERT INTO artifacts VALUES (?, 1, 'image/png', 64, 32)", (PICTURE.sha256,))
    connection.execute(
        "INSERT INTO agents (agent, owner, persona, prompt, seed, engines, avatar, created_at_ms)"
        " VALUES ('s1', 'ann', ?, 'an owl', 7, ?, ?, 1)",
        (msgspec.json.encode(PERSONA).decode(), msgspec.json.encode(ENGINES).decode(), PICTURE.sha256),
    )
    connection.close()
    async with opened(tmp_path) as store:
        agent = await store.agents.get("ann", "s1")
        assert (agent.persona, agent.engines, agent.seed) == (PERSONA, ENGINES, 7)
        assert (agent.steps, agent.writer, agent.painter) == (None, None, None)


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
async def test_a_hatch_that_is_not_done_leaves_none(tmp_path: Path, outcome: str) -> None:
    async with opened(tmp_path) as store:
        await store.log.create(record_of())
        lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=None, now=0.0)
        await say(store.log, "s1", [lifecycle.handle(mail.PersonaWritten(persona=PERSONA), 1.0)])
        if outcome == "cancelled":
            await say(store.log, "s1", [lifecycle.cancel("enough", 1.0)])
        await say(store.log, "s1", [lifecycle.finish(None, 2.0)])
        assert (await store.log.view("s1")).state == outcome
        assert await found(store) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["s2", "s1"]),
        ("wren", ["s2"]),
        ("owl", ["s2", "s1"]),  # the prompt
        ("tower", ["s1"]),
        ("pap", ["s2"]),
        ("aper", []),
        ("fox wren", ["s2"]),
        ("fox ada", []),
        ("vivio nunoa", ["s2"]),
        ("  curious   KIND ", ["s2", "s1"]),
        ("nobody", []),
    ],
)
async def test_agents_are_found_by_the_beginnings_of_their_words(
    tmp_path: Path, query: str, expected: list[str]
) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        await hatch(store.log, "s2", persona=WREN)
        assert await found(store, query) == expected


@pytest.mark.parametrize(
    "query", ['"', "'", '" OR "', "NEAR(", "text:owl", "owl OR fox", "owl*", "^owl", "-", "\0", "* *", "x" * 5000]
)
async def test_a_query_is_words_and_nothing_else(tmp_path: Path, query: str) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        assert set(await found(store, query)) <= {"s1"}


async def test_owners_see_and_delete_only_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        assert await found(store, owner="bob") == []
        for ask in (store.agents.get("bob", "s1"), store.agents.delete("bob", "s1")):
            with pytest.raises(NotFound):
                await ask
        assert await found(store) == ["s1"]


async def test_a_deleted_agent_is_found_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await hatch(store.log, "s1")
        await hatch(store.log, "s2")
        await store.agents.delete("ann", "s1")
        assert (await found(store), await found(store, "ada")) == (["s2"], ["s2"])
        with pytest.raises(NotFound):
            await store.agents.get("ann", "s1")
        with pytest.raises(NotFound):
            await store.agents.delete("ann", "s1")


@pytest.mark.parametrize("query", ["", "ada"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_pages_cover_everything_once(tmp_path: Path, query: str, limit: int) -> None:
    async with opened(tmp_path) as store:
        for number in range(3):
            await hatch(store.log, f"s{number}")
            await hatch(store.log, f"other{number}", owner="bob")
        pages: list[list[str]] = []
        before = None
        while not pages or before is not None:
            gallery = await store.agents.list("ann", query=query, limit=limit, before=before)
            pages.append([agent.agent for agent in gallery.items])
            before = gallery.before
            await hatch(store.log, f"new{len(pages)}")
        assert [agent for page in pages for agent in page] == ["s2", "s1", "s0"]
        assert [] not in pages


async def test_a_cursor_that_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(Invalid) as refusal:
            await store.agents.list("ann", limit=1, before="1 or 1=1")
        assert refusal.value.field == "before"
