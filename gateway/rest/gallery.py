"""The gallery over HTTP: the agents of one owner, found by their words, with their pictures and character cards."""

from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
import trio
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from actors.artifacts import ArtifactStore
from actors.cards import card_png
from actors.store.agents import Agent, Agents
from gateway.access.capability import Signer
from gateway.rest.answers import NextPage
from protocol.card import Making, to_card
from protocol.errors import Invalid
from protocol.events import AgentId, Engines, Prompt
from protocol.maker import Maker
from protocol.persona import Persona

PAGE: Final = 50
MAX_PAGE: Final = 1000
MAX_QUERY: Final = 1000  # characters

_PRIVATE: Final = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class AgentItem(msgspec.Struct, frozen=True, kw_only=True):
    """One agent as clients see it; the URLs are signed and expire, so that `<img>` and downloads need no headers."""

    agent: AgentId
    persona: Annotated[Persona, Meta(description="Who it is.")]
    prompt: Prompt
    seed: Annotated[int | None, Meta(description="The seed of its avatar, if known.")]
    steps: Annotated[int | None, Meta(description="The steps of its avatar, if known.")]
    engines: Annotated[Engines, Meta(description="What was at work.")]
    writer: Annotated[Maker | None, Meta(description="Who wrote the persona, if known.")]
    painter: Annotated[Maker | None, Meta(description="Who drew the avatar, if known.")]
    created_at_ms: Annotated[int, Meta(description="Milliseconds since 1970.")]
    avatar_url: Annotated[str, Meta(description="The avatar's path.")]
    card_png_url: Annotated[str, Meta(description="The path of the avatar that carries its character card.")]
    card_json_url: Annotated[str, Meta(description="The path of the character card.")]


class AgentPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of agents."""

    items: Annotated[list[AgentItem], Meta(description="Newest first.")]
    before: NextPage | None = None


class GalleryRoutes:
    """The endpoints over one store's agents; `owner_of` tells who asks, and may raise; `version` goes into cards."""

    def __init__(
        self,
        agents: Agents,
        artifacts: ArtifactStore,
        signer: Signer,
        *,
        owner_of: Callable[[Request], str],
        version: str,
    ) -> None:
        self._agents = agents
        self._artifacts = artifacts
        self._signer = signer
        self._owner_of = owner_of
        self._version = version

    def routes(self) -> list[Route]:
        """All of them, for a Starlette application."""
        return [
            Route("/v1/agents", self.list, methods=["GET"]),
            Route("/v1/agents/{agent}", self.show, methods=["GET"]),
            Route("/v1/agents/{agent}", self.delete, methods=["DELETE"]),
            Route("/v1/agents/{agent}/avatar.png", self.avatar, methods=["GET"]),
            Route("/v1/agents/{agent}/card.png", self.card_png, methods=["GET"]),
            Route("/v1/agents/{agent}/card.json", self.card_json, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of agents, newest first; `q` holds the beginnings of words that they must all have."""
        query = request.query_params
        words = query.get("q", "")
        if len(words) > MAX_QUERY:
            raise Invalid(f"q has at most {MAX_QUERY} characters", field="q")
        gallery = await self._agents.list(
            self._owner_of(request), query=words, limit=page_limit(query.get("limit")), before=query.get("before")
        )
        return _json(AgentPage(items=[self._item(agent) for agent in gallery.items], before=gallery.before))

    async def show(self, request: Request) -> Response:
        """One agent."""
        return _json(self._item(await self._agents.get(self._owner_of(request), request.path_params["agent"])))

    async def delete(self, request: Request) -> Response:
        """Forget one agent; the session that hatched it stays."""
        await self._agents.delete(self._owner_of(request), request.path_params["agent"])
        return Response(status_code=204)

    async def avatar(self, request: Request) -> Response:
        """The picture."""
        agent = await self._find(request, "avatar.png")
        return FileResponse(self._artifacts.path(agent.avatar), media_type="image/png", headers=_PRIVATE)

    async def card_png(self, request: Request) -> Response:
        """The picture as a character card."""
        agent = await self._find(request, "card.png")
        path, making = self._artifacts.path(agent.avatar), self._making(agent)
        card = await trio.to_thread.run_sync(lambda: card_png(path.read_bytes(), agent.persona, making))
        return Response(card, media_type="image/png", headers=_PRIVATE)

    async def card_json(self, request: Request) -> Response:
        """The character card alone, version 3."""
        agent = await self._find(request, "card.json")
        return Response(to_card(agent.persona, self._making(agent)), media_type="application/json", headers=_PRIVATE)

    async def _find(self, request: Request, file: str) -> Agent:
        """The agent of a file: its owner asks, or somebody who holds the file's signed URL."""
        agent, query = request.path_params["agent"], request.query_params
        if "signature" in query:
            owner = query.get("owner", "")
            self._signer.verify(_path(agent, owner, file), query.get("expires", ""), query["signature"])
        else:
            owner = self._owner_of(request)
        return await self._agents.get(owner, agent)

    def _item(self, agent: Agent) -> AgentItem:
        return AgentItem(
            agent=agent.agent,
            persona=agent.persona,
            prompt=agent.prompt,
            seed=agent.seed,
            steps=agent.steps,
            engines=agent.engines,
            writer=agent.writer,
            painter=agent.painter,
            created_at_ms=agent.created_at_ms,
            avatar_url=self._signer.artifact_url(agent.avatar),
            card_png_url=self._url(agent, "card.png"),
            card_json_url=self._url(agent, "card.json"),
        )

    def _url(self, agent: Agent, file: str) -> str:
        path = _path(agent.agent, agent.owner, file)
        return f"{path}&{self._signer.stamp(path)}"

    def _making(self, agent: Agent) -> Making:
        return Making(
            prompt=agent.prompt,
            seed=agent.seed,
            steps=agent.steps,
            engines=agent.engines,
            writer=agent.writer,
            painter=agent.painter,
            version=self._version,
            created_at_ms=agent.created_at_ms,
        )


def _path(agent: str, owner: str, file: str) -> str:
    """Where a file is, and for whom: what is signed."""
    return f"/v1/agents/{quote(agent, safe='')}/{file}?owner={quote(owner, safe='')}"


def page_limit(text: str | None) -> int:
    """How many items a page is to have, from the query. Raises Invalid."""
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        raise Invalid(f"limit is a number from 1 to {MAX_PAGE}", field="limit")
    return int(text)


def _json(body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
