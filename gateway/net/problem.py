"""An error over HTTP, as `application/problem+json` (RFC 9457) with the code that the WebSocket would give."""

import http

import msgspec

from protocol.errors import HatcheryError

MEDIA_TYPE = "application/problem+json"


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
        members = {"title": self.title, "status": self.status, "code": self.code, "detail": self.detail}
        optional = {"field": self.field, "retry_after_ms": self.retry_after_ms}
        return msgspec.json.encode(members | {name: value for name, value in optional.items() if value is not None})

    def raw_headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """The response headers for `body`, lower-case, as ASGI and h11 take them."""
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        if self.retry_after_ms is not None:
            own.append((b"retry-after", b"%d" % -(-self.retry_after_ms // 1000)))
        return [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *own]
