"""Whether a client still lives: pings at an interval, by the shared ticker."""

from math import inf
from typing import Final

import trio

from gateway.live.ticker import Ticker
from gateway.net.websocket import WebSocket

CLOSE_NO_HEARTBEAT: Final = 4001


class Heartbeat:
    """Pings at an interval, and drops a connection that has shown no sign of life since the last ping.

    It is given another interval if its dialogue was too busy to read for a while: the sign may lie there unread.
    """

    def __init__(self, websocket: WebSocket, ticker: Ticker, interval_s: float) -> None:
        self._websocket = websocket
        self._ticker = ticker
        self._interval_s = interval_s
        self._pinged_at = -inf
        self._timer = ticker.at(trio.current_time() + interval_s, self._beat)

    def __enter__(self) -> None: ...

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        websocket = self._websocket
        if websocket.last_heard < self._pinged_at and websocket.reading_since <= self._pinged_at:
            self._websocket.close(CLOSE_NO_HEARTBEAT, "no sign of life")
            return
        self._websocket.ping()
        self._pinged_at = trio.current_time()
        self._timer = self._ticker.at(self._pinged_at + self._interval_s, self._beat)
