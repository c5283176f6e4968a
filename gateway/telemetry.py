"""Structured logs on stderr, readable on a terminal, one JSON object a line elsewhere; prompts and tokens never."""

import io
import logging
import secrets
import sys
from collections.abc import Sequence
from typing import TextIO

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import EventDict, ExcInfo

from protocol.events import End, State
from protocol.journal import Entry
from protocol.view import SessionView

log = structlog.get_logger(__name__)


def configure_logging(*, verbose: bool) -> None:
    """Log from info on, or only warnings and errors.

    Tracebacks come without local variables: those hold prompts, personas and tokens.
    """
    terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=_harmless_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    exceptions = [_harmless] if terminal else [structlog.processors.format_exc_info]  # JSON escapes by itself
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: a live display takes it over
    )


def _harmless(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Show what clients have said as text: no line of its own, and no command to the terminal."""
    return {name: _printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _harmless_traceback(target: TextIO, exc_info: ExcInfo) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    target.write("\n".join(map(_printable, written.getvalue().split("\n"))))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class HatchLog:
    """Logs how every hatch ended, and for what reason it was cancelled."""

    def __init__(self) -> None:
        self._reasons: dict[str, str | None] = {}  # of hatches that are being cancelled

    def hear(self, view: SessionView, entries: Sequence[Entry]) -> None:
        """Take note of what a session has said."""
        for entry in entries:
            if isinstance(entry, End):  # cheaper than a `match`, for what is mostly neither
                self._log_end(entry)
            elif isinstance(entry, State) and entry.state == "cancelling":
                self._reasons[view.session] = entry.reason

    def _log_end(self, end: End) -> None:
        """Codes only: an engine's own words may quote the prompt."""
        reason = self._reasons.pop(end.session, None)
        said = {
            "reason": reason or "no reason given" if end.outcome == "cancelled" else None,
            "code": None if end.error is None else end.error.code,
            "cancel_latency_ms": end.receipt.cancel_latency_ms,
        }
        known = {name: value for name, value in said.items() if value is not None}
        log.info("hatch_ended", session=end.session, outcome=end.outcome, total_ms=end.receipt.total_ms, **known)


def with_request_ids(app: ASGIApp) -> ASGIApp:
    """The application with an id for each request, which all that is logged on its behalf carries as `request`."""

    async def identified(scope: Scope, receive: Receive, send: Send) -> None:
        with structlog.contextvars.bound_contextvars(request=secrets.token_hex(6)):
            await app(scope, receive, send)

    return identified
