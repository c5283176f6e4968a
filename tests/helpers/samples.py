"""A fixed list of messages: every type with all of its fields, and with none that may be left out."""

from typing import Final

from gateway.reference.messages import name_of
from protocol.commands import (
    Cancel,
    Command,
    Cursor,
    HatchRequest,
    Hello,
    ImageOptions,
    List,
    Lora,
    Ping,
    ResumeCursor,
    Start,
    Unwatch,
    Watch,
    WatchOptions,
)
from protocol.events import (
    Accepted,
    Artifact,
    Choices,
    End,
    Engines,
    Error,
    Event,
    Failure,
    GoingAway,
    Limits,
    Ok,
    PersonaReady,
    Pong,
    Preview,
    Progress,
    Receipt,
    Resumed,
    SessionItem,
    Sessions,
    Snapshot,
    State,
    Text,
    Thinking,
    Welcome,
)
from protocol.maker import Maker
from protocol.persona import Persona

_PERSONA: Final = Persona(
    name="Ада",
    species="snowy owl 🦉",
    tagline='Sees it "first".',
    traits=["calm", "curious", "kind"],
    backstory="Hatched in a tower.\n\nStayed there.",
    greeting="Hoo!",
    system_prompt="You are Ада.",
    palette=["#102030", "#405060", "#708090"],
    avatar_prompt="an owl in a tower",
)
_IMAGE: Final = ImageOptions(
    model="schnell",
    steps=4,
    width=512,
    height=768,
    seed=2**32 - 1,
    guidance=3.5,
    lora=["ink", Lora(name="fog", scale=0.5)],
    negative_prompt="text",
    input="9f86d081884c7d659a2f",
)
_MAKER: Final = Maker(engine="mflux", model="schnell", version="0.24.1")
_ENGINES: Final = Engines(llm="openai", image="mflux")
_LIMITS: Final = Limits(message_bytes=262144, prompt_chars=2000, pixels=4194304, steps=100)
_TIMES: Final = {"queued_ms": 1, "writing_ms": 2048, "waiting_ms": 0, "drawing_ms": 70_000, "total_ms": 72_049}
_ARTIFACT: Final = Artifact(
    session="s1",
    seq=4,
    kind="avatar",
    url="/v1/artifacts/abab?expires=2000000000&signature=cdcd",
    sha256="ab" * 32,
    bytes=4711,
    mime="image/png",
    width=512,
    height=768,
    painter=_MAKER,
    seed=2**32 - 1,
    steps=4,
)
_END: Final = End(
    session="s1",
    seq=5,
    outcome="failed",
    receipt=Receipt(
        **_TIMES,
        steps_done=3,
        steps=4,
        worker="exited",
        llm="closed",
        engines=_ENGINES,
        cancel_latency_ms=17,
        exit_code=-9,
    ),
    error=Failure(code="image_failed", message="the image command ran out of memory", retryable=False),
    agent="a1",
)
_PROGRESS: Final = Progress(
    session="s1",
    percent=66.5,
    stage="steps",
    basis="measured",
    message="Step 2 of 4",
    step=2,
    steps=4,
    step_s=17.25,
    eta_s=(34.5, 51.0),
    queue_position=1,
)
_PREVIEW: Final = Preview(session="s1", step=2, mime="image/jpeg", width=64, height=96, data=b"\xff\xd8\x00\xfe")
_DONE: Final = Receipt(**_TIMES, steps_done=4, steps=4, worker="idle", llm="none", engines=_ENGINES)

ALL: Final[tuple[Command | Event, ...]] = (
    Hello(
        id="a",
        token="hatchery_secret",
        watch_token="s1:ann:2000000000:cdcd",
        client="test/1",
        follow="mine",
        resume=[ResumeCursor(session="s1", epoch=1, seq=3, offset=17)],
    ),
    Start(
        id=-1,
        hatch=HatchRequest(prompt="a shy dragon", persona=_PERSONA, image=_IMAGE),
        key="k1",
        watch=WatchOptions(max_hz=2.5, previews=True),
        on_disconnect="cancel",
        grace_s=0.0,
    ),
    Cancel(id=2**53 - 1, session="s1", key="k1", reason="enough"),
    Watch(id=4, session="s1", from_=Cursor(epoch=1, seq=3, offset=17), max_hz=2.5, previews=True),
    Unwatch(id=5, session="s1"),
    List(id=6, states=["queued", "drawing"], limit=10, before="1000.s1"),
    Ping(id=7),
    Welcome(
        id="a",
        connection="c1",
        server="hatchery/1",
        version=1,
        engines=_ENGINES,
        heartbeat_ms=20_000,
        limits=_LIMITS,
        resumed=[Resumed(session="s1", result="current")],
        choices=Choices(models=["mine"], loras=["ink", "fog"]),
    ),
    Accepted(id=2, session="s1", epoch=1, existing=False, state="queued"),
    Ok(id=3, session="s1", epoch=1, seq=3, offset=17, state="cancelling"),
    Sessions(
        id=6,
        items=[
            SessionItem(
                session="s1", state="done", percent=100.0, created_at_ms=1_700_000_000_000, prompt="an owl", agent="a1"
            )
        ],
        before="1000.s1",
    ),
    Error(
        code="rate_limited",
        message="too many messages",
        retryable=True,
        id=8,
        session="s1",
        retry_after_ms=1500,
        field="hatch.image.steps",
    ),
    Pong(id=7),
    Snapshot(
        session="s1",
        epoch=2,
        seq=5,
        offset=17,
        state="failed",
        attempt=2,
        prompt="a shy dragon",
        persona={"name": "Ада", "traits": ["calm", "cur"]},
        artifacts=[_ARTIFACT],
        writer=_MAKER,
        id=4,
        progress=_PROGRESS,
        preview=_PREVIEW,
        end=_END,
        reason="enough",
    ),
    State(session="s1", seq=1, state="writing", reason="a slot is free"),
    PersonaReady(session="s1", seq=2, persona=_PERSONA, writer=_MAKER),
    _ARTIFACT,
    _END,
    Text(session="s1", offset=17, path="/traits/1", delta="ious 🦉"),
    Thinking(session="s1", delta="An owl, then."),
    _PROGRESS,
    _PREVIEW,
    GoingAway(deadline_ms=30_000, reconnect_after_ms=(500, 5_000)),
)

LEAST: Final[tuple[Command | Event, ...]] = (
    Hello(id=1),
    Start(id=2, hatch=HatchRequest(prompt="a shy dragon")),
    Cancel(id=3),
    Watch(id=4, session="s1"),
    List(id=6),
    Welcome(
        id=1,
        connection="c1",
        server="hatchery/1",
        version=1,
        engines=_ENGINES,
        heartbeat_ms=20_000,
        limits=_LIMITS,
        resumed=[],
    ),
    Ok(id=3),
    Sessions(id=6, items=[]),
    Error(code="bad_message", message="this is no JSON", retryable=False),
    Snapshot(
        session="s1",
        epoch=1,
        seq=0,
        offset=0,
        state="queued",
        attempt=1,
        prompt="a shy dragon",
        persona={},
        artifacts=[],
    ),
    State(session="s1", seq=1, state="writing"),
    PersonaReady(session="s1", seq=2, persona=_PERSONA),
    Artifact(
        session="s1",
        seq=4,
        kind="card",
        url="/v1/artifacts/abab",
        sha256="ab" * 32,
        bytes=4711,
        mime="image/png",
        width=512,
        height=768,
    ),
    End(session="s1", seq=5, outcome="done", receipt=_DONE),
    Progress(session="s1", percent=0.0, stage="queued", basis="indeterminate", message="Waiting for a writer"),
)

SAMPLES: Final = {
    **{f"{name_of(type(message))}, all": message for message in ALL},
    **{f"{name_of(type(message))}, least": message for message in LEAST},
}
