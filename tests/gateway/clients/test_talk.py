"""The conversation without I/O: what is sent over one connection and the next, and what readers get."""

from typing import Any

import msgspec
import pytest

from gateway.clients.question import Question
from gateway.clients.talk import Talk, start_command, wishes_of
from gateway.clients.track import QUEUED, Track
from protocol.commands import Cancel, Hello
from protocol.errors import Gone, KeyConflict, TooLarge
from protocol.events import End, Snapshot, Text

LIMITS = {"message_bytes": 400, "prompt_chars": 100, "pixels": 1, "steps": 1}
ENGINES = {"llm": "sim", "image": "sim"}
RECEIPT = dict.fromkeys(("queued_ms", "writing_ms", "waiting_ms", "drawing_ms", "total_ms", "steps_done", "steps"), 0)


def say(talk: Talk, *messages: dict[str, Any]) -> None:
    talk.receive(msgspec.json.encode(messages))


def connected(talk: Talk, *resumed: tuple[str, str]) -> dict[str, Any]:
    """A new connection, welcomed; returns the hello."""
    hello: dict[str, Any] = msgspec.json.decode(talk.begin())
    welcome = {"type": "welcome", "id": 0, "connection": "c", "server": "s", "version": 1, "heartbeat_ms": 1}
    results = [{"session": session, "result": result} for session, result in resumed]
    say(talk, {**welcome, "engines": ENGINES, "limits": LIMITS, "resumed": results})
    return hello


def sent(talk: Talk) -> list[dict[str, Any]]:
    return [msgspec.json.decode(frame) for frame in talk.to_send()]


def snapshot(session: str, **fields: Any) -> dict[str, Any]:
    empty = {"epoch": 1, "seq": 0, "offset": 0, "state": "writing", "attempt": 1, "prompt": "p", "persona": {}}
    return {"type": "snapshot", "session": session, **empty, "artifacts": [], **fields}


def text(session: str, offset: int, delta: str) -> dict[str, Any]:
    return {"type": "text", "session": session, "offset": offset, "path": "/name", "delta": delta}


def state(session: str, seq: int, name: str = "writing") -> dict[str, Any]:
    return {"type": "state", "session": session, "seq": seq, "state": name}


def end(session: str, seq: int) -> dict[str, Any]:
    receipt = {**RECEIPT, "worker": "none", "llm": "none", "engines": ENGINES}
    return {"type": "end", "session": session, "seq": seq, "outcome": "cancelled", "receipt": receipt}


def begun(talk: Talk, prompt: str = "p", *, max_hz: float | None = None) -> tuple[Track, Question]:
    wishes = wishes_of(max_hz, previews=False)
    start = start_command(prompt, key="k", wishes=wishes, on_disconnect="keep", grace_s=30)
    return talk.start(start)


def accepted(talk: Talk, session: str = "s1", *, max_hz: float | None = None) -> Track:
    track, _ = begun(talk, max_hz=max_hz)
    (start,) = sent(talk)
    accept = {"type": "accepted", "id": start["id"], "session": session, "epoch": 1, "existing": False}
    say(talk, {**accept, "state": "queued"}, snapshot(session))
    return track


@pytest.fixture
def talk() -> Talk:
    """One that has been welcomed."""
    talk = Talk(Hello(id=0, token="t", client="test/1"))
    connected(talk)
    return talk


def test_nothing_goes_before_the_welcome_but_hello() -> None:
    talk = Talk(Hello(id=0, token="t"))
    begun(talk)
    assert sent(talk) == []
    hello = connected(talk)
    assert hello == {"type": "hello", "id": hello["id"], "token": "t"}
    (start,) = sent(talk)
    assert (start["type"], start["key"]) == ("start", "k")
    assert "watch" not in start  # which is the default
    assert sent(talk) == []


def test_what_is_unanswered_is_said_again_over_the_next_connection(talk: Talk) -> None:
    begun(talk)
    talk.ask(Cancel(id=0, key="k"))
    first = sent(talk)
    connected(talk)
    assert sent(talk) == first
    say(talk, *({"type": "ok", "id": command["id"]} for command in first))
    connected(talk)
    assert sent(talk) == []


def test_sessions_are_resumed_from_where_their_text_and_events_stand(talk: Talk) -> None:
    accepted(talk)
    say(talk, text("s1", 0, "Wr🦉"), state("s1", 1), text("s1", 3, "n"))
    hello = connected(talk, ("s1", "current"))
    assert hello["resume"] == [{"session": "s1", "epoch": 1, "seq": 1, "offset": 4}]
    assert sent(talk) == []


def test_wishes_are_said_again_with_the_cursor(talk: Talk) -> None:
    accepted(talk, max_hz=5)
    assert "resume" not in connected(talk)
    (watch,) = sent(talk)
    assert (watch["type"], watch["max_hz"], watch["from"]) == ("watch", 5, {"epoch": 1, "seq": 0, "offset": 0})


def test_what_is_gone_fails(talk: Talk) -> None:
    track = accepted(talk)
    connected(talk, ("s1", "gone"))
    assert isinstance(track.error, Gone)


@pytest.mark.parametrize("message", [text("s1", 2, "x"), state("s1", 2)])
def test_a_hole_is_mended_by_a_snapshot_and_nothing_is_read_until_then(talk: Talk, message: dict[str, Any]) -> None:
    track = accepted(talk)
    track.inbox.clear()
    say(talk, message, text("s1", 0, "late"))
    (watch,) = sent(talk)
    assert (watch["type"], watch["session"]) == ("watch", "s1")
    assert "from" not in watch
    assert not track.inbox
    say(talk, snapshot("s1", id=watch["id"], seq=2, offset=4, persona={"name": "Wren"}), text("s1", 4, "!"))
    assert [type(message) for message in track.inbox] == [Snapshot, Text]
    assert track.view.partial == {"name": "Wren!"}


def test_a_reader_that_falls_far_behind_gets_a_snapshot_instead(talk: Talk) -> None:
    track = accepted(talk)
    say(talk, *(text("s1", offset, "x") for offset in range(2 * QUEUED)))
    (watch,) = sent(talk)
    assert "from" not in watch
    assert len(track.inbox) == QUEUED
    say(talk, snapshot("s1", id=watch["id"], seq=5, offset=2 * QUEUED), end("s1", 6))
    assert [type(message) for message in track.inbox] == [Snapshot, End]
    assert track.over


def test_a_refusal_is_the_exception_of_its_code(talk: Talk) -> None:
    track, question = begun(talk)
    (start,) = sent(talk)
    refused = {"type": "error", "id": start["id"], "code": "key_conflict", "message": "no", "retryable": False}
    say(talk, {**refused, "field": "key", "retry_after_ms": 5})
    assert isinstance(question.error, KeyConflict)
    assert (question.error.message, question.error.field, question.error.retry_after_ms) == ("no", "key", 5)
    assert track.error is question.error


def test_what_is_longer_than_the_gateway_takes_is_not_sent(talk: Talk) -> None:
    track, question = begun(talk, "ü" * 200)
    assert sent(talk) == []
    assert isinstance(question.error, TooLarge)
    assert isinstance(track.error, TooLarge)


def test_the_last_to_leave_detaches(talk: Talk) -> None:
    track = accepted(talk)
    second, _ = talk.watch("s1", None)
    sent(talk)
    talk.leave(second)
    assert sent(talk) == []
    talk.leave(track)
    assert [command["type"] for command in sent(talk)] == ["unwatch"]


def test_one_who_left_before_the_answer_detaches_when_it_comes(talk: Talk) -> None:
    track, _ = begun(talk)
    (start,) = sent(talk)
    talk.leave(track)
    accept = {"type": "accepted", "id": start["id"], "session": "s1", "epoch": 1, "existing": False, "state": "queued"}
    say(talk, accept, snapshot("s1"))
    assert [(command["type"], command["session"]) for command in sent(talk)] == [("unwatch", "s1")]
    assert not track.inbox


def test_a_second_watcher_waits_for_its_own_snapshot(talk: Talk) -> None:
    accepted(talk)
    second, _ = talk.watch("s1", None)
    (watch,) = sent(talk)
    say(talk, text("s1", 0, "Wr"))
    assert sent(talk) == []
    say(talk, snapshot("s1", id=watch["id"], offset=2, persona={"name": "Wr"}), text("s1", 2, "en"))
    assert second.view.partial == {"name": "Wren"}


def test_after_the_end_of_all_connections_everything_fails_also_what_comes_later(talk: Talk) -> None:
    track = accepted(talk)
    question = talk.ask(Cancel(id=0, session="s1"))
    error = RuntimeError("over")
    talk.fail(error)
    later, opened = talk.watch("s1", None)
    assert [question.error, track.error, opened.error, talk.ask(Cancel(id=0, key="k")).error] == [error] * 4
    assert later.error is error


def test_messages_of_a_later_version_are_passed_over(talk: Talk) -> None:
    track = accepted(talk)
    say(talk, {"type": "aura", "session": "s1"}, text("s1", 0, "x"))
    assert track.view.partial == {"name": "x"}
