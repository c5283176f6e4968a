"""Files of a gateway over plain HTTP: artifacts by their signed URLs, and what a token gives access to."""

import httpx2

from gateway.clients.address import Address
from gateway.clients.refusal import problem
from protocol.events import Artifact


async def fetch(address: Address, file: Artifact | str) -> bytes:
    """An artifact, or what a URL of the gateway's names. Raises HatcheryError, or httpx2.HTTPError."""
    url, headers = address.file(file.url if isinstance(file, Artifact) else file)
    async with httpx2.AsyncClient(trust_env=False) as http:
        return _content(await http.get(url, headers=headers))


def fetch_sync(address: Address, file: Artifact | str) -> bytes:
    """The same without an event loop."""
    url, headers = address.file(file.url if isinstance(file, Artifact) else file)
    with httpx2.Client(trust_env=False) as http:
        return _content(http.get(url, headers=headers))


def _content(response: httpx2.Response) -> bytes:
    if not response.is_success:
        raise problem(response.content, response.status_code)
    return response.content
