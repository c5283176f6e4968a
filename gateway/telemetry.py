"""Structured logs on stderr: readable on a terminal, one JSON object a line elsewhere."""

import logging
import sys

import structlog


def configure_logging(*, verbose: bool) -> None:
    """Log from info on, or only warnings and errors. Prompts, personas and tokens are never logged."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    exceptions = [] if terminal else [structlog.processors.format_exc_info]
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
