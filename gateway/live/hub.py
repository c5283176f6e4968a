"""Who watches what: every event of a session is wrapped once and offered to the outbox of each of its watchers."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from msgspec import UNSET, UnsetType

from gateway.live.flusher import Flusher, Link, Socket
from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind
from protocol.events import Artifact, End, Event, Preview, Progress, Text, Thinking
from protocol.journal import Entry, EpochBegun
from protocol.outbox import Drop, Outbox, OutboxLimits
from protocol.view import SessionView, Sign

_FLEETING = (Progress, Text, Thinking, Preview)
_KEPT_VIEWS = 16  # of sessions that a watcher has seen end, before they are swept out


class Watcher:
    """One client's place at the hub: what it watches, and the link through which it is told."""

    __slots__ = ("link", "outbox", "owner", "views")

    def __init__(
        self,
        owner: str,
        codec: Codec,
        limits: OutboxLimits,
        socket_link: Callable[[Outbox], Link],
        sign: Sign,
        on_drop: Callable[[Drop], None],
    ) -> None:
        self.owner = owner
        self.views: dict[str, SessionView] = {}
        self.outbox = Outbox(codec, limits, partial(_snapshot, self.views, sign), on_drop)
        self.link = socket_link(self.outbox)


class Hub:
    """All `clients`, watchers by session, and followers by owner.

    `on_attached` and `on_detached` are told of every attachment of a session's own owner, `on_drop` of what clients
    that join from then on lose by being slow.
    """

    def __init__(self, flusher: Flusher, limits: OutboxLimits, sign: Sign) -> None:
        self._flusher = flusher
        self._limits = limits
        self._sign = sign
        self.clients: dict[Watcher, None] = {}
        self._watchers: defaultdict[str, dict[Watcher, None]] = defaultdict(dict)
        self._followers: defaultdict[str, dict[Watcher, None]] = defaultdict(dict)
        self.on_attached: Callable[[str], None] = _ignore
        self.on_detached: Callable[[str], None] = _ignore
        self.on_drop: Callable[[Drop], None] = _ignore

    @contextlib.contextmanager
    def join(self, owner: str, codec: Codec, socket: Socket) -> Iterator[Watcher]:
        """A client's place, given up when the block ends; `watcher.owner` may be told later, before it follows."""
        with contextlib.ExitStack() as stack:
            watcher = Watcher(
                owner,
                codec,
                self._limits,
                lambda outbox: stack.enter_context(self._flusher.open_link(outbox, socket)),
                self._sign,
                self.on_drop,
            )
            self.clients[watcher] = None
            try:
                yield watcher
            finally:
                del self.clients[watcher]
                _discard(self._followers, watcher.owner, watcher)
                for session in watcher.views:
                    self.detach(watcher, session)

    def say(self, watcher: Watcher, message: Event) -> None:
        """Owe a client an answer or a notice."""
        watcher.outbox.say(Envelope(Kind.ANSWER, (message,)))
        self._flusher.mark(watcher.link)

    def attach(
        self,
        watcher: Watcher,
        view: SessionView,
        *,
        max_hz: float | None = None,
        previews: bool = False,
        owe_snapshot: bool = True,
        request_id: Id | UnsetType = UNSET,
    ) -> None:
        """Deliver a session from now on, after a snapshot unless the client is current; again to change the wishes."""
        ended = view.end is not None
        if watcher.outbox.too_slow or (ended and not owe_snapshot):
            return
        if len(watcher.views) > 2 * len(watcher.outbox.sessions) + _KEPT_VIEWS:
            for seen in watcher.views.keys() - watcher.outbox.sessions:
                del watcher.views[seen]
        watcher.views[view.session] = view
        watcher.outbox.attach(
            view.session, max_hz=max_hz, previews=previews, owe_snapshot=owe_snapshot, request_id=request_id
        )
        self._flusher.mark(watcher.link)
        if not ended and watcher not in self._watchers[view.session]:
            self._watchers[view.session][watcher] = None
            if view.record.owner == watcher.owner:
                self.on_attached(view.session)

    def detach(self, watcher: Watcher, session: str) -> None:
        """Deliver nothing more of a session."""
        watcher.outbox.detach(session)
        self._flusher.mark(watcher.link)
        if _discard(self._watchers, session, watcher) and watcher.views[session].record.owner == watcher.owner:
            self.on_detached(session)

    def follow(self, watcher: Watcher) -> None:
        """Attach the client to whatever its owner starts from now on."""
        self._followers[watcher.owner][watcher] = None

    def announce(self, view: SessionView, starter: Watcher | None) -> None:
        """A session was started: those who follow its owner get it, but for the client that has asked for it."""
        for watcher in self._followers.get(view.record.owner, ()):
            if watcher is not starter:
                self.attach(watcher, view)

    def publish(self, view: SessionView, entries: Sequence[Entry]) -> None:
        """Offer what a session has said, and `view` already includes, to all who watch it."""
        watchers = self._watchers.get(view.session)
        if watchers is None:
            return
        envelopes = self._wrap(view.session, entries)
        mark = self._flusher.mark
        for watcher in watchers:
            outbox = watcher.outbox
            for envelope in envelopes:
                if envelope is None:
                    outbox.reset(view.session)
                else:
                    outbox.offer(envelope)
            mark(watcher.link)
        if view.end is not None:
            del self._watchers[view.session]

    def broadcast(self, message: Event) -> None:
        """Owe a notice to every client."""
        for watcher in self.clients:
            self.say(watcher, message)

    def _wrap(self, session: str, entries: Sequence[Entry]) -> list[Envelope | None]:
        """Envelopes in order, None for a new epoch; 100 % and `end` share one, so that nothing parts them."""
        envelopes: list[Envelope | None] = []
        waiting: list[Event] = []
        for entry in entries:
            if isinstance(entry, _FLEETING):  # nearly all that is ever said, and a `match` would take twice as long
                if isinstance(entry, Progress) and entry.percent == 100.0:
                    waiting.append(entry)
                else:
                    envelopes.append(Envelope.of_session(session, entry))
                continue
            match entry:
                case EpochBegun():
                    envelopes.append(None)
                case End():
                    envelopes.append(Envelope.of_session(session, *waiting, entry))
                case Artifact():
                    envelopes.append(Envelope.of_session(session, self._sign(entry)))
                case _:
                    envelopes.append(Envelope.of_session(session, entry))
        return envelopes


def _snapshot(
    views: Mapping[str, SessionView], sign: Sign, session: str, request_id: Id | UnsetType, previews: bool
) -> Envelope:
    """What an outbox asks for; it holds its watcher's views and not the watcher, which holds it."""
    id_ = None if request_id is UNSET else request_id
    return Envelope(Kind.RELIABLE, (views[session].snapshot(sign, id=id_, previews=previews),), session)


def _discard(groups: dict[str, dict[Watcher, None]], name: str, watcher: Watcher) -> bool:
    """Take a watcher out of a group, and the group away with its last one; whether it was there."""
    group = groups.get(name)
    if group is None or watcher not in group:
        return False
    del group[watcher]
    if not group:
        del groups[name]
    return True


def _ignore(_what: str) -> None:
    """Nobody counts."""
