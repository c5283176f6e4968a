"""The shape of every refusal over HTTP."""

from typing import Any

import httpx2
import msgspec


def check_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that it is a problem with this status and code; returns its members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = msgspec.json.decode(response.content)
    assert (members["status"], members["code"]) == (status, code)
    assert members["title"]
    assert members["detail"]
    return members
