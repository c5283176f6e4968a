"""What can be asked over HTTP: every operation with its parameters, bodies, answers and refusals."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gateway.reference.operation import JSON, Content, Operation, Parameter, Reply
from gateway.rest.answers import (
    HatchCancelled,
    HatchStarted,
    Health,
    Link,
    LoggedIn,
    Readiness,
    SessionPage,
    Uploaded,
)
from gateway.rest.gallery import MAX_PAGE, MAX_QUERY, PAGE, AgentItem, AgentPage
from gateway.rest.uploads import FORMATS
from protocol.commands import HatchRequest, Key, StateName
from protocol.errors import (
    BadMessage,
    Draining,
    Forbidden,
    Gone,
    Invalid,
    KeyConflict,
    NotFound,
    Overloaded,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
)
from protocol.events import Snapshot

_SESSION: Final = Parameter(name="session", where="path", what="The session's id.", required=True)
_AGENT: Final = Parameter(name="agent", where="path", what="The agent's id.", required=True)
_BEFORE: Final = Parameter(name="before", where="query", what="The cursor of the page before.")
_LIMIT: Final = Parameter(
    name="limit",
    where="query",
    what=f"The most items of a page; {PAGE} if absent.",
    type=Annotated[int, Meta(ge=1, le=MAX_PAGE)],
)
_SIGNED: Final = (
    Parameter(name="expires", where="query", what="When the URL ends, in seconds since 1970."),
    Parameter(name="signature", where="query", what="Stands for a token, for this file alone."),
)
_PNG: Final = Content(type=bytes, media=("image/png",))


def _file(name: str, path: str, what: str, content: Content) -> Operation:
    owner = Parameter(name="owner", where="query", what="Whose agent it is, as the signed URL says.")
    return Operation(
        method="get",
        path=f"/v1/agents/{{agent}}/{path}",
        name=name,
        what=what,
        parameters=(_AGENT, owner, *_SIGNED),
        replies=(Reply(status=200, what="The file.", content=content),),
        refusals=(Unauthenticated, Forbidden, NotFound, Gone),
        entry="token or signature",
    )


def _document(path: str, name: str, what: str, media: str) -> Operation:
    content = Content(type=str if media != JSON else dict[str, Any], media=(media,))
    return Operation(
        method="get",
        path=path,
        name=name,
        what=what,
        replies=(Reply(status=200, what="The document.", content=content),),
        entry="everybody",
    )


_HATCHES: Final = (
    Operation(
        method="post",
        path="/v1/hatches",
        name="startHatch",
        what="Starts a hatch, or finds the one started with the same key.",
        parameters=(Parameter(name="Idempotency-Key", where="header", what="Makes it safe to repeat.", type=Key),),
        body=Content(type=HatchRequest),
        replies=(
            Reply(
                status=202,
                what="It has begun.",
                content=Content(type=HatchStarted),
                headers={"Location": "Where the session is."},
            ),
            Reply(
                status=200,
                what="The same key had started it.",
                content=Content(type=HatchStarted),
                headers={"Location": "Where the session is."},
            ),
        ),
        refusals=(BadMessage, Forbidden, KeyConflict, TooLarge, Invalid, QuotaExceeded, Overloaded, Draining),
    ),
    Operation(
        method="get",
        path="/v1/hatches",
        name="listHatches",
        what="Lists the caller's sessions, newest first.",
        parameters=(
            Parameter(
                name="states", where="query", what="Only sessions in these states.", type=list[StateName], listed=True
            ),
            _LIMIT,
            _BEFORE,
        ),
        replies=(Reply(status=200, what="A page of sessions.", content=Content(type=SessionPage)),),
        refusals=(Invalid,),
    ),
    Operation(
        method="get",
        path="/v1/hatches/{session}",
        name="showHatch",
        what="Shows a session as it is now.",
        parameters=(_SESSION,),
        replies=(Reply(status=200, what="Its snapshot.", content=Content(type=Snapshot)),),
        refusals=(NotFound, Gone),
    ),
    Operation(
        method="delete",
        path="/v1/hatches/{session}",
        name="cancelHatch",
        what="Cancels a hatch; late and repeated cancels change nothing and do not fail.",
        parameters=(_SESSION,),
        replies=(Reply(status=202, what="The session as it then is.", content=Content(type=HatchCancelled)),),
        refusals=(Forbidden, NotFound, Gone),
    ),
    Operation(
        method="get",
        path="/v1/hatches/{session}/events",
        name="followHatch",
        what="Follows a session until its end, by Server-Sent Events; their data are messages of the WebSocket.",
        parameters=(
            _SESSION,
            Parameter(name="Last-Event-ID", where="header", what="The id of the last event seen: `epoch.seq.offset`."),
        ),
        replies=(
            Reply(
                status=200,
                what="A snapshot, unless the cursor is current, then what happens.",
                content=Content(type=str, media=("text/event-stream",)),
            ),
            Reply(status=204, what="The session has ended and the cursor has seen it: do not come again."),
        ),
        refusals=(NotFound, Gone),
    ),
    Operation(
        method="post",
        path="/v1/hatches/{session}/links",
        name="shareHatch",
        what="Makes a link with which anybody may watch this session, and nothing else, for a while.",
        parameters=(_SESSION,),
        replies=(Reply(status=201, what="The link.", content=Content(type=Link)),),
        refusals=(BadMessage, Forbidden, NotFound, Gone),
    ),
)

_GALLERY: Final = (
    Operation(
        method="get",
        path="/v1/agents",
        name="listAgents",
        what="Lists the caller's finished agents, newest first.",
        parameters=(
            Parameter(
                name="q",
                where="query",
                what="Beginnings of words that they must all have.",
                type=Annotated[str, Meta(max_length=MAX_QUERY)],
            ),
            _LIMIT,
            _BEFORE,
        ),
        replies=(Reply(status=200, what="A page of agents.", content=Content(type=AgentPage)),),
        refusals=(Invalid,),
    ),
    Operation(
        method="get",
        path="/v1/agents/{agent}",
        name="showAgent",
        what="Shows an agent.",
        parameters=(_AGENT,),
        replies=(Reply(status=200, what="The agent.", content=Content(type=AgentItem)),),
        refusals=(NotFound,),
    ),
    Operation(
        method="delete",
        path="/v1/agents/{agent}",
        name="forgetAgent",
        what="Forgets an agent; the session that hatched it stays.",
        parameters=(_AGENT,),
        replies=(Reply(status=204, what="It is forgotten."),),
        refusals=(Forbidden, NotFound),
    ),
    _file("avatar", "avatar.png", "The picture.", _PNG),
    _file("cardPng", "card.png", "The picture that carries its character card.", _PNG),
    _file("cardJson", "card.json", "The Character Card V3.", Content(type=dict[str, Any])),
)

_OTHERS: Final = (
    Operation(
        method="post",
        path="/v1/uploads",
        name="upload",
        what="Takes an input picture, decodes all of it and keeps its pixels alone.",
        body=Content(type=bytes, media=tuple(FORMATS)),
        replies=(Reply(status=201, what="Its id, for `image.input`.", content=Content(type=Uploaded)),),
        refusals=(BadMessage, Forbidden, TooLarge, Invalid, QuotaExceeded, Overloaded),
    ),
    Operation(
        method="get",
        path="/v1/artifacts/{sha256}",
        name="artifact",
        what="A finished file, for whoever holds its signed URL.",
        parameters=(
            Parameter(name="sha256", where="path", what="The file's name.", required=True),
            *(msgspec.structs.replace(parameter, required=True) for parameter in _SIGNED),
        ),
        replies=(Reply(status=200, what="The file.", content=_PNG),),
        refusals=(Forbidden, NotFound, Gone),
        entry="signature",
    ),
    Operation(
        method="post",
        path="/v1/login",
        name="logIn",
        what="Exchanges a bearer token for a cookie, which page and socket then send by themselves.",
        replies=(
            Reply(
                status=200,
                what="Who was recognised.",
                content=Content(type=LoggedIn),
                headers={"Set-Cookie": "The login: HttpOnly, SameSite=Strict."},
            ),
        ),
        refusals=(BadMessage, Forbidden),
    ),
    Operation(
        method="delete",
        path="/v1/login",
        name="logOut",
        what="Takes the cookie back.",
        replies=(Reply(status=204, what="It is gone."),),
        refusals=(Forbidden,),
    ),
    Operation(
        method="get",
        path="/healthz",
        name="health",
        what="Whether the process answers.",
        replies=(Reply(status=200, what="It does.", content=Content(type=Health)),),
        entry="everybody",
    ),
    Operation(
        method="get",
        path="/readyz",
        name="readiness",
        what="Whether new hatches are taken, and by which engines.",
        replies=(
            Reply(status=200, what="They are.", content=Content(type=Readiness)),
            Reply(status=503, what="They are not, and why.", content=Content(type=Readiness)),
        ),
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        what="Numbers for Prometheus.",
        replies=(
            Reply(
                status=200,
                what="In the format that is asked for.",
                content=Content(type=str, media=("text/plain", "application/openmetrics-text")),
            ),
        ),
    ),
    _document("/v1/asyncapi.json", "asyncapi", "The WebSocket's messages, as AsyncAPI 3.", JSON),
    _document("/v1/openapi.json", "openapi", "This document, as OpenAPI 3.1.", JSON),
    _document(
        "/v1/hatchery.d.ts", "typescript", "All messages and bodies, as TypeScript types.", "application/typescript"
    ),
)

OPERATIONS: Final = (*_HATCHES, *_GALLERY, *_OTHERS)
