"""Where an LLM server answers: its address, its key, one exchange with it, and what its refusals mean for us."""

import email.utils
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Final

import httpx2
import msgspec
import trio

from protocol.errors import HatcheryError, LlmFailed, LlmUnavailable

CONNECT_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
BODY_BYTES: Final = 1 << 20
BODY_TIMEOUT_S: Final = 2.0
QUOTE_CHARS: Final = 300
_ERROR_DEPTH: Final = 6
BUSY: Final = frozenset({408, 429, 502, 503, 504, 529})
"""Statuses that pass by themselves; 529 is Anthropic's "overloaded"."""


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect's addresses, keys and streams look like.

    `cut_off` are ends of a path that people copy along with the base URL; `root` is the path of one that has none.
    `missing_model` is the remedy for a `{model}` that the server does not have.
    """

    title: str
    example: str
    cut_off: tuple[str, ...]
    root: str = ""
    stream_type: str = "text/event-stream"
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    missing_model: str = "set the LLM model to one that it lists under /models"


OPENAI: Final = Api(
    title="an OpenAI-compatible API", example="http://127.0.0.1:8080/v1", cut_off=("/chat/completions",), root="/v1"
)


class Endpoint:
    """The base URL of an API and the key for it; the key shows in no message and no repr.

    `base_url` is forgiving: see `Api`. Raises ValueError for a URL that is not http(s), or a key that no header can
    carry.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        api: Api = OPENAI,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.api = api
        try:
            url = httpx2.URL(base_url.strip())
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"The LLM base URL must look like {api.example}.")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("The LLM API key holds characters that no HTTP header can carry; copy it again.")
        path = url.path.rstrip("/")
        path = path.removesuffix(next((end for end in api.cut_off if path.endswith(end)), "")) or api.root
        # Without user and password: the HTTP client logs URLs.
        self.url = url.copy_with(path=path, query=None, fragment=None, username=None, password=None)
        self._auth = (url.username, url.password) if url.userinfo and not api_key else None
        self._api_key = api_key
        self._timeout = httpx2.Timeout(None, connect=connect_timeout_s)

    def __str__(self) -> str:
        return str(self.url).rstrip("/")

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"

    @cached_property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, so that no proxy from the environment may come between."""
        try:
            return ip_address(self.url.host).is_loopback
        except ValueError:
            return self.url.host == "localhost"

    @cached_property
    def _tls(self) -> Any:
        """Built once, since loading certificates takes tens of milliseconds; plain HTTP needs none."""
        return httpx2.create_ssl_context() if self.url.scheme == "https" else False

    @asynccontextmanager
    async def exchange(self, method: str, path: str, content: bytes = b"") -> AsyncGenerator["Reply", None]:
        """Ask once, with a JSON `content` if any; leaving closes the connection at once, also when cancelled.

        The connection is a fresh one, since one from a pool may have gone stale. Only connecting has a time limit.
        Raises LlmUnavailable when no response begins.
        """
        client = self._client()
        reply: Reply | None = None
        try:
            try:
                request = client.build_request(method, path, content=content)
                reply = Reply(await client.send(request, stream=True))
            except httpx2.HTTPError as error:
                raise self.unreachable(error) from error
            yield reply
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await client.aclose()
                if reply is not None:
                    await reply.exhaust()

    def _client(self) -> httpx2.AsyncClient:
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", **dict(self.api.headers)}
        if self._api_key:
            headers[self.api.key_header] = self.api.key_prefix + self._api_key
        return httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            auth=self._auth,
            verify=self._tls,
            timeout=self._timeout,
            trust_env=not self.is_loopback,
        )

    def unreachable(self, error: httpx2.HTTPError) -> LlmUnavailable:
        """What to tell when no connection came about, or it broke before any answer."""
        return LlmUnavailable(
            f"No answer from the LLM server at {self} ({type(error).__name__}): "
            "check that it runs and that the LLM base URL is right."
        )

    def refusal(self, status: int, body: object, *, model: str, retry_after: str | None = None) -> HatcheryError:
        """What an HTTP error `status` means, quoting the server's own words in `body` (decoded JSON, or text)."""
        if status in (401, 403):  # unquoted, since some servers repeat the key they were given
            return LlmFailed(f"The LLM server at {self} refused access (HTTP {status}): set a valid LLM API key.")
        said = f"(HTTP {status}{self.quote(body)})"
        if status in BUSY:
            return LlmUnavailable(
                f"The LLM server at {self} takes no work for now {said}: try again later.",
                retry_after_ms=retry_after_ms(retry_after),
            )
        if status == 404:
            return LlmFailed(
                f"The LLM server at {self} does not find model {model!r} {said}: "
                f"{self.api.missing_model.format(model=model)}, or correct the LLM base URL."
            )
        if 300 <= status < 400:
            return LlmFailed(f"The LLM server at {self} redirects {said}: set the LLM base URL to where it leads.")
        return LlmFailed(f"The LLM server at {self} failed {said}: see its log, or choose another LLM model.")

    def quote(self, body: object) -> str:
        """The server's own words as `: "…"`, bounded, on one line and without the key; empty if it said nothing."""
        words = " ".join(error_words(body).split())
        if self._api_key:
            words = words.replace(self._api_key, "…")
        if len(words) > QUOTE_CHARS:
            words = words[:QUOTE_CHARS] + "…"
        return f': "{words}"' if words else ""


class Reply:
    """A response whose body is still coming; `pieces` are its bytes and raise httpx2.HTTPError when it breaks."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.pieces = response.aiter_bytes()

    async def read(self) -> bytes:
        """As much of a short body as comes soon, at most `BODY_BYTES`."""
        body = bytearray()
        with trio.move_on_after(BODY_TIMEOUT_S), suppress(httpx2.HTTPError):
            async for piece in self.pieces:
                body += piece
                if len(body) >= BODY_BYTES:
                    break
        return bytes(body[:BODY_BYTES])

    async def exhaust(self) -> None:
        """Run out of a connection that is closed: httpx2 leaves generators open behind one that is closed early."""
        with suppress(httpx2.HTTPError):
            async for _ in self.pieces:
                pass


def decode_body(body: bytes) -> object:
    """JSON when it is JSON, else text; nothing of a page meant for browsers."""
    try:
        decoded: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        text = body.decode(errors="replace").strip()
        return "" if text.startswith("<") else text
    return decoded


def error_words(body: object) -> str:
    """The server's own words, from any of `{"error": …}`, `{"message": …}`, `{"detail": …}`, a list, or text."""
    for _ in range(_ERROR_DEPTH):
        match body:
            case str():
                return body
            case {"error": inner} | {"message": inner} | {"detail": inner} | {"msg": inner}:
                body = inner
            case [first, *_]:
                body = first
            case _:
                break
    return ""


def retry_after_ms(value: str | None) -> int | None:
    """A Retry-After header, seconds or an HTTP date, in milliseconds from now; None when there is no telling."""
    if value is None:
        return None
    try:
        return max(0, round(float(value) * 1000))
    except (ValueError, OverflowError):
        pass
    try:
        return max(0, round((email.utils.parsedate_to_datetime(value).timestamp() - time.time()) * 1000))
    except (ValueError, OverflowError):
        return None
