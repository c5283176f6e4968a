"""A client's side of the dialogue, without I/O: frames in, frames out, across any number of connections.

Whatever has not been answered when a connection ends is said again over the next one, which is safe because every
command is idempotent (a start by its key); sessions go on from their cursors.
"""

import secrets
from typing import Final, Literal

import msgspec

from gateway.clients.frames import decode_messages
from gateway.clients.question import Question, Reply
from gateway.clients.refusal import refusal
from gateway.clients.track import HatchEvent, Track
from protocol.commands import (
    AnyCommand,
    HatchRequest,
    Hello,
    Start,
    Unwatch,
    WatchOptions,
)
from protocol.errors import Gone, HatcheryError, TooLarge
from protocol.events import (
    Accepted,
    Error,
    GoingAway,
    Ok,
    Pong,
    ServerMessage,
    Sessions,
    Snapshot,
    Welcome,
)

HELLO_ID: Final = 0
RESUMED_AT_ONCE: Final = 1000  # cursors in one `hello`, which must stay below the longest message


class Talk:
    """All that one client has asked and watches. `refused` is why `hello` was not welcome, `going_away` the latest."""

    def __init__(self, hello: Hello) -> None:
        self.welcome: Welcome | None = None  # of this connection
        self.refused: HatcheryError | None = None
        self.going_away: GoingAway | None = None
        self._hello = hello
        self._last_id = HELLO_ID
        self._questions: dict[int, Question] = {}
        self._opening: dict[int, Track] = {}
        self._tracks: dict[str, list[Track]] = {}
        self._unsent: list[AnyCommand] = []
        self._failure: Exception | None = None

    # --- asking

    def ask(self, command: AnyCommand, *, repeats: bool = True) -> Question:
        """Have a command sent, with an id of its own."""
        self._last_id += 1
        question = Question(msgspec.structs.replace(command, id=self._last_id), repeats=repeats)
        if self._failure is not None:
            question.settle(error=self._failure)
            return question
        self._questions[self._last_id] = question
        if self.welcome is not None:
            self._unsent.append(question.command)
        return question

    def start(self, start: Start) -> tuple[Track, Question]:
        """Start a hatch and watch it."""
        track = Track(start.watch if isinstance(start.watch, WatchOptions) else None, key=start.key)
        return track, self._open(track, start)

    def watch(self, session: str, wishes: WatchOptions | None) -> tuple[Track, Question]:
        """Watch a session, from a snapshot on."""
        track = Track(wishes, session=session)
        self._tracks.setdefault(session, []).append(track)
        return track, self._open(track, track.watch())

    def leave(self, track: Track) -> None:
        """Hear no more of a session, unless others here still do."""
        track.left = True
        if track.session is None or track.over:
            return
        self._forget(track)
        if track.session not in self._tracks:
            self.ask(Unwatch(id=0, session=track.session))

    def _open(self, track: Track, command: AnyCommand, *, repeats: bool = True) -> Question:
        question = self.ask(command, repeats=repeats)
        if question.error is None:
            self._opening[self._last_id] = track
        else:
            track.fail(question.error)
        return question

    def fail(self, error: Exception) -> None:
        """There will be no other connection."""
        self._failure = error
        tracks = [track for those in self._tracks.values() for track in those]
        for track in [*tracks, *self._opening.values()]:
            track.fail(error)
        for question in self._questions.values():
            question.settle(error=error)
        self._questions.clear()

    # --- one connection after another

    def begin(self) -> str:
        """The first frame of a new connection. Wishes do not fit a cursor: such sessions are watched again instead."""
        self.welcome = self.going_away = None
        self._unsent.clear()
        cursors = [cursor for those in self._tracks.values() if (cursor := those[0].resume()) is not None]
        return _encode(msgspec.structs.replace(self._hello, id=HELLO_ID, resume=cursors[:RESUMED_AT_ONCE]))

    def to_send(self) -> list[str]:
        """The frames that are to go now, one command each; nothing before the welcome."""
        frames: list[str] = []
        unsent, self._unsent = self._unsent, []
        for command in unsent:
            frame = _encode(command)
            assert self.welcome is not None
            if len(frame.encode()) <= self.welcome.limits.message_bytes:
                frames.append(frame)
            else:  # sent, it would only cost the connection
                self._settle(int(command.id), error=TooLarge("the message is longer than the gateway takes"))
        return frames

    def receive(self, frame: str | bytes) -> None:
        """Take a frame of the gateway."""
        for message in decode_messages(frame):
            self._take(message)

    def _take(self, message: ServerMessage) -> None:
        match message:
            case Welcome():
                self._greet(message)
            case GoingAway():
                self.going_away = message
            case Error(id=id_) if id_ == HELLO_ID:
                self.refused = refusal(message)
            case Error(id=int(id_)):
                self._settle(id_, error=refusal(message))
            case Accepted(id=int(id_)):
                self._accept(self._opening.get(id_), message)
                self._settle(id_, message)
            case Ok(id=int(id_)) | Sessions(id=int(id_)) | Pong(id=int(id_)):
                self._settle(id_, message)
            case Error() | Accepted() | Ok() | Sessions() | Pong():
                pass  # of nothing that was asked here
            case _:
                self._route(message)

    def _greet(self, welcome: Welcome) -> None:
        self.welcome, self.refused = welcome, None
        for session in [resumed.session for resumed in welcome.resumed if resumed.result == "gone"]:
            for track in self._tracks.pop(session, ()):
                track.fail(Gone("the session has expired, or the gateway has no memory of it"))
        for id_, question in list(self._questions.items()):
            if question.repeats:
                self._unsent.append(question.command)
            else:
                del self._questions[id_]
                self._opening.pop(id_, None)
        resumed = {one.session for one in welcome.resumed}
        for session, (track, *_) in self._tracks.items():
            if track.view.cursor is not None and session not in resumed:
                self._open(track, track.watch(), repeats=False)

    def _settle(self, id_: int, reply: Reply | None = None, error: HatcheryError | None = None) -> None:
        track = self._opening.pop(id_, None)
        if track is not None and error is not None:
            track.fail(error)
            self._forget(track)
        question = self._questions.pop(id_, None)
        if question is not None:
            question.settle(reply, error)

    def _accept(self, track: Track | None, accepted: Accepted) -> None:
        if track is None:
            return
        track.session = accepted.session
        self._tracks.setdefault(accepted.session, []).append(track)
        if track.left:
            self.leave(track)

    def _route(self, message: HatchEvent) -> None:
        for track in list(self._tracks.get(message.session, ())):
            if not track.take(message):
                self._open(track, track.watch(), repeats=False)
            if track.over:
                self._forget(track)
        if isinstance(message, Snapshot) and isinstance(message.id, int):
            self._settle(message.id, message)

    def _forget(self, track: Track) -> None:
        if track.session is None:
            return
        those = self._tracks.get(track.session, [])
        if track in those:
            those.remove(track)
        if not those:
            self._tracks.pop(track.session, None)


def start_command(
    hatch: str | HatchRequest,
    *,
    key: str | None,
    wishes: WatchOptions | None,
    on_disconnect: Literal["keep", "cancel"],
    grace_s: float,
) -> Start:
    """A start of a prompt, or of a whole hatch, under a key: without one a random one, so that it can be repeated."""
    return Start(
        id=0,
        hatch=HatchRequest(prompt=hatch) if isinstance(hatch, str) else hatch,
        key=key or secrets.token_urlsafe(16),
        watch=wishes or True,
        on_disconnect=on_disconnect,
        grace_s=grace_s,
    )


def wishes_of(max_hz: float | None, previews: bool) -> WatchOptions | None:
    """None for what a watcher gets without asking."""
    return WatchOptions(max_hz=max_hz, previews=previews) if max_hz is not None or previews else None


def _encode(command: AnyCommand) -> str:
    return msgspec.json.encode(command).decode()
