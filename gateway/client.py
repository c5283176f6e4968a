"""The Python client: `open_client` on trio, and `connect_sync` for scripts and notebooks, alike but for `async`."""

from gateway.clients.blocking import SyncClient, SyncHatch, connect_sync
from gateway.clients.concurrent import Client, Hatch, open_client
from gateway.clients.policy import Disconnected
from gateway.clients.track import HatchEvent
from gateway.clients.view import View

__all__ = [
    "Client",
    "Disconnected",
    "Hatch",
    "HatchEvent",
    "SyncClient",
    "SyncHatch",
    "View",
    "connect_sync",
    "open_client",
]
