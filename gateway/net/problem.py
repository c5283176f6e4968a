"""An error over HTTP, as `application/problem+json` (RFC 9457) with the code that the WebSocket would give."""

import http
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.errors import HatcheryError
from protocol.events import Code

MEDIA_TYPE = "application/problem+json"


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem as it is said."""

    title: Annotated[str, Meta(description="HTTP's own words for the status.")]
    status: Annotated[int, Meta(description="HTTP's status.")]
    code: Code
    detail: Annotated[str, Meta(description="What went wrong and what to do.")]
    field: Annotated[str, Meta(description="The path of the field at fault.")] | None = None
    retry_after_ms: Annotated[int, Meta(description="Milliseconds after which it may work.")] | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal: `status` is HTTP's, `code` the stable one of `protocol.errors`, `headers` go beside the body."""

    status: int
    code: str
    detail: str
    field: str | None = None
    retry_after_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, error: HatcheryError) -> "Problem":
        """The problem that tells of `error`."""
        return cls(
            status=error.status,
            code=error.code,
            detail=error.message,
            field=error.field,
            retry_after_ms=error.retry_after_ms,
        )

    @property
    def title(self) -> str:
        """HTTP's own words for the status."""
        return http.HTTPStatus(self.status).phrase

    def body(self) -> bytes:
        """The JSON object; members that say nothing are left out."""
        said = ProblemBody(
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            field=self.field,
            retry_after_ms=self.retry_after_ms,
        )
        return msgspec.json.encode(said)

    def raw_headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """The response headers for `body`, lower-case, as ASGI and h11 take them."""
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        if self.retry_after_ms is not None:
            own.append((b"retry-after", b"%d" % -(-self.retry_after_ms // 1000)))
        return [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *own]
