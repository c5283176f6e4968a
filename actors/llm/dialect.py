"""What the setting `llm.engine` names, when it names a server: an address with its dialect, or a command to run."""

import shlex
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

Dialect = Literal["openai", "ollama", "anthropic"]

ANTHROPIC_HOST: Final = "api.anthropic.com"
ALLOWED: Final = (
    "a URL such as http://127.0.0.1:8080/v1, one with its dialect such as ollama:http://127.0.0.1:11434 or "
    "anthropic:https://api.anthropic.com, or a command such as mlx_lm.server --model NAME"
)


class LlmAddress(msgspec.Struct, frozen=True):
    """A server that somebody else runs, and what it speaks."""

    dialect: Dialect
    url: str

    def __str__(self) -> str:
        return f"{self.dialect}:{self.url}"


class LlmCommand(msgspec.Struct, frozen=True):
    """A server to run as a child; it speaks OpenAI's dialect."""

    argv: tuple[str, ...]


def parse_llm(engine: str) -> LlmAddress | LlmCommand:
    """Read `[openai:|ollama:|anthropic:]URL` or a command line.

    A URL without its dialect is OpenAI-compatible, unless its host is Anthropic's. Raises ValueError, quoting nothing
    of `engine`, since a URL may hold a password.
    """
    engine = engine.strip()
    prefix, colon, rest = engine.partition(":")
    for dialect in get_args(Dialect):
        if colon and prefix.lower() == dialect:
            url = rest.strip()
            if not _is_url(url):
                raise ValueError(f"after {dialect}: comes a URL such as http://127.0.0.1:8080")
            return LlmAddress(dialect, url)
    if _is_url(engine):
        return LlmAddress("anthropic" if _host(engine) == ANTHROPIC_HOST else "openai", engine)
    if "://" in engine.partition(" ")[0]:
        raise ValueError(f"it must be {ALLOWED}")
    return LlmCommand(_argv(engine))


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _argv(line: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(line))
    except ValueError as error:
        raise ValueError(f"the command line has {str(error).lower()}") from error
    if not argv:
        raise ValueError(f"it must be {ALLOWED}")
    return argv
