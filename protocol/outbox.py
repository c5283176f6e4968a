"""What one client is still owed: every reliable event in order, the latest of what ages, and a snapshot when it lags.

A client that reads slowly sees fewer and fresher progress events and longer text deltas, never a gap; the bytes that
wait for it are bounded, and what no longer fits is replaced by a snapshot of the session as it then is.
"""

import heapq
from collections.abc import Callable, KeysView
from math import inf
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from protocol.attachment import OWED_BYTES, Attachment, Frame, MakeSnapshot, TooSlow
from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind

__all__ = ["Drop", "MakeSnapshot", "Outbox", "OutboxLimits", "TooSlow"]

Drop = Literal["preview", "progress", "session", "client"]

_RELIABLE: Final = Kind.RELIABLE  # an enum's members cost more to look up than names of the module


class OutboxLimits(msgspec.Struct, frozen=True):
    """Bytes that may wait for one client, and bytes of messages in one frame (a longer message has its own)."""

    max_bytes: int = 1 << 20
    frame_bytes: int = 64 << 10


class Outbox:
    """One client's outbox; `bytes` is the encoded size of all that waits in it.

    `urgent` says whether something waits that should not wait for a tick: an answer, a reliable event or a snapshot,
    or that the client is too slow.

    `make_snapshot` is called when a snapshot is sent, `on_drop` when something is given up to stay within the bound: a
    preview, a progress event, a session's events for a snapshot, or all that the client was owed. The session is
    detached once its last message has been drained: an `end`, a snapshot that has one, or an `error` in place of a
    snapshot. Once `too_slow`, because even answers and snapshots alone exceed the bound, it is empty and stays so, and
    `drain` raises TooSlow. What waits is kept in lists rather than deques: an idle outbox should be small.
    """

    __slots__ = (
        "_answers",
        "_attached",
        "_make_snapshot",
        "_on_drop",
        "_ready",
        "_throttled",
        "bytes",
        "codec",
        "limits",
        "too_slow",
        "urgent",
    )

    def __init__(
        self,
        codec: Codec,
        limits: OutboxLimits,
        make_snapshot: MakeSnapshot,
        on_drop: Callable[[Drop], None] | None = None,
    ) -> None:
        self.codec = codec
        self.limits = limits
        self.bytes = 0
        self.too_slow = False
        self._make_snapshot = make_snapshot
        self._on_drop = on_drop or _nobody_counts
        self._attached: dict[str, Attachment] = {}
        self._answers: list[Envelope] = []
        self._ready: list[Attachment] = []
        self._throttled: list[tuple[float, str]] = []  # a heap of sessions whose progress waits for its time
        self.urgent = False

    @property
    def sessions(self) -> KeysView[str]:
        """The sessions attached."""
        return self._attached.keys()

    def attached(self, session: str) -> bool:
        """Whether events of this session are delivered."""
        return session in self._attached

    def attach(
        self,
        session: str,
        *,
        max_hz: float | None = None,
        previews: bool = False,
        owe_snapshot: bool,
        request_id: Id | UnsetType = UNSET,
    ) -> None:
        """Deliver this session's events from now on, after a snapshot if one is owed; again to change the wishes."""
        if self.too_slow:
            return
        attachment = self._attached.get(session)
        if attachment is None:
            attachment = self._attached[session] = Attachment(session, self.codec)
        before = attachment.bytes
        attachment.wish(max_hz, previews)
        if owe_snapshot:
            attachment.owe(request_id)
            self.urgent = True
        self._changed(attachment, before)

    def detach(self, session: str) -> None:
        """Deliver nothing more of this session but the snapshots that were asked for by id."""
        attachment = self._attached.get(session)
        if attachment is None:
            return
        self.bytes -= attachment.bytes
        self._remove(attachment)
        if attachment.queued:
            self._ready.remove(attachment)
            self._calm_down()
        for answer in attachment.answer(self._make_snapshot):
            self.say(answer)

    def reset(self, session: str) -> None:
        """A new epoch: what was pending of this session is taken back, and a snapshot is owed."""
        attachment = self._attached.get(session)
        if attachment is not None:
            before = attachment.bytes
            attachment.owe(UNSET)
            self.urgent = True
            self._changed(attachment, before)

    def say(self, envelope: Envelope) -> None:
        """Owe an answer or a notice, which is never dropped and goes ahead of all events."""
        if self.too_slow:
            return
        self._answers.append(envelope)
        self.bytes += len(envelope.element(self.codec))
        self.urgent = True
        if self.bytes > self.limits.max_bytes:
            self._shed()

    def offer(self, envelope: Envelope) -> None:
        """Owe an event of a session, if that is attached and no snapshot is owed that will include it."""
        attachment = self._attached.get(envelope.session)
        if attachment is None:
            return
        before = attachment.bytes
        if not attachment.offer(envelope):
            return
        if envelope.kind is _RELIABLE:
            self.urgent = True
        self.bytes += attachment.bytes - before
        if not attachment.queued:
            self._schedule(attachment)
        if self.bytes > self.limits.max_bytes:
            self._shed()

    def due(self, now: float) -> float | None:
        """When something can be sent: `now`, a later time in seconds (throttled progress), None if nothing is owed."""
        if self._answers or self._ready or self.too_slow:
            return now
        while self._throttled:
            when, session = self._throttled[0]
            attachment = self._attached[session]
            if attachment.due_at is not None:
                return max(now, when)
            heapq.heappop(self._throttled)
            attachment.throttled = False
        return None

    def drain(self, now: float) -> list[Envelope]:
        """Take what fits into one frame, in order; empty if nothing is due at `now` seconds. Raises TooSlow."""
        if self.too_slow:
            raise TooSlow("more waits for this client than its outbox may hold")
        while self._throttled and self._throttled[0][0] <= now:
            attachment = self._attached[heapq.heappop(self._throttled)[1]]
            attachment.throttled = False
            if not attachment.queued:
                attachment.queued = True
                self._ready.append(attachment)
        frame = Frame(self.limits.frame_bytes, self.limits.max_bytes)
        try:
            if self._answers:
                self.bytes -= frame.take_from(self._answers, self.codec)
            if not self._answers:
                self._drain_sessions(frame, now)
        except TooSlow:
            self._give_up()
            raise
        if self.urgent:
            self._calm_down()
        return frame.envelopes

    def _drain_sessions(self, frame: Frame, now: float) -> None:
        """Take from one session after the other; the one that did not fit goes last, so that none starves another."""
        ready, self._ready = self._ready, []
        for position, attachment in enumerate(ready):
            before = attachment.bytes
            complete = attachment.take(frame, now, self._make_snapshot)
            self.bytes += attachment.bytes - before
            if not complete:
                self._ready = [*ready[position + 1 :], attachment]
                return
            attachment.queued = False
            if attachment.ended:
                self._remove(attachment)
            elif attachment.bytes:
                self._schedule(attachment)

    def _changed(self, attachment: Attachment, before: int) -> None:
        self.bytes += attachment.bytes - before
        if not attachment.queued:
            self._schedule(attachment)
        if self.bytes > self.limits.max_bytes:
            self._shed()

    def _calm_down(self) -> None:
        self.urgent = self.urgent and bool(self._answers or self._ready)

    def _schedule(self, attachment: Attachment) -> None:
        """Put an attachment that is not queued where it will be found when it is due."""
        when = attachment.due_at
        if when == -inf:
            attachment.queued = True
            self._ready.append(attachment)
        elif when is not None and not attachment.throttled:
            attachment.throttled = True
            heapq.heappush(self._throttled, (when, attachment.session))

    def _remove(self, attachment: Attachment) -> None:
        del self._attached[attachment.session]
        if attachment.throttled:
            self._throttled = [entry for entry in self._throttled if entry[1] != attachment.session]
            heapq.heapify(self._throttled)

    def _shed(self) -> None:
        """Make room: without previews, without progress, then with snapshots for the sessions that hold most."""
        attachments = self._attached.values()
        drops: tuple[tuple[Drop, Callable[[Attachment], None]], ...] = (
            ("preview", Attachment.drop_preview),
            ("progress", Attachment.drop_progress),
        )
        for kind, drop in drops:
            for attachment in attachments:
                before = attachment.bytes
                drop(attachment)
                if attachment.bytes != before:
                    self.bytes += attachment.bytes - before
                    self._on_drop(kind)
            if self.bytes <= self.limits.max_bytes:
                return
        for attachment in sorted(attachments, key=lambda attachment: attachment.bytes, reverse=True):
            before = attachment.bytes
            if before <= OWED_BYTES or self.bytes <= self.limits.max_bytes // 2:  # half: not to search again soon
                break
            attachment.owe(UNSET)
            self.urgent = True
            self.bytes += attachment.bytes - before
            self._on_drop("session")
        if self.bytes > self.limits.max_bytes:
            self._give_up()

    def _give_up(self) -> None:
        self._on_drop("client")
        self.too_slow = self.urgent = True
        self.bytes = 0
        for queue in (self._answers, self._ready, self._throttled, self._attached):
            queue.clear()


def _nobody_counts(_kind: Drop) -> None:
    """What `on_drop` does until somebody counts."""
