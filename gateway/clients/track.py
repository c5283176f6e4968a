"""One session as its reader follows it: what is known of it, and what has not been read yet."""

from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.clients.view import View
from protocol.commands import Cursor, ResumeCursor, Watch, WatchOptions
from protocol.events import SessionEvent, Snapshot

HatchEvent = Snapshot | SessionEvent
QUEUED: Final = 1000  # messages that wait for a reader before a snapshot is asked for in their place


class Track:
    """A session that is watched; `on_news` is called when there is more to read."""

    def __init__(self, wishes: WatchOptions | None, session: str | None = None, key: str | None = None) -> None:
        self.wishes = wishes
        self.session = session
        self.key = key
        self.view = View()
        self.inbox: deque[HatchEvent] = deque()
        self.error: Exception | None = None
        self.behind = True  # a snapshot has been asked for; until it comes, everything else is superseded
        self.left = False
        self.on_news: Callable[[], None] = _nobody_waits

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.view.end is not None or self.error is not None

    def take(self, message: HatchEvent) -> bool:
        """Fold a message and keep it for the reader; False if a snapshot must be asked for instead."""
        if isinstance(message, Snapshot):
            if self.behind:
                self.inbox.clear()
            self.behind = False
        elif self.behind:
            return True
        elif len(self.inbox) >= QUEUED:
            self.behind = True
            return False
        if not self.view.take(message):
            self.behind = True
            return False
        self.inbox.append(message)
        self.on_news()
        return True

    def fail(self, error: Exception) -> None:
        """Nothing more will come, for this reason."""
        if not self.over:
            self.error = error
            self.on_news()

    @property
    def cursor(self) -> Cursor | None:
        """From where it can go on; None if it takes a whole snapshot."""
        return None if self.behind else self.view.cursor

    def resume(self) -> ResumeCursor | None:
        """The cursor for `hello`; None if there is none, or if wishes go with it, which only a `watch` can say."""
        if self.session is None or self.cursor is None or self.wishes is not None:
            return None
        at = self.cursor
        return ResumeCursor(session=self.session, epoch=at.epoch, seq=at.seq, offset=at.offset)

    def watch(self) -> Watch:
        """The command that goes on from here."""
        assert self.session is not None
        wishes = self.wishes or WatchOptions()
        return Watch(id=0, session=self.session, from_=self.cursor, max_hz=wishes.max_hz, previews=wishes.previews)


def _nobody_waits() -> None:
    """What is called until somebody waits."""
