"""What the tests of outboxes ask for."""

import pytest

from protocol.codec import Codec
from protocol.outbox import Outbox, OutboxLimits
from tests.helpers.outboxes import Gateway


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def outbox(gateway: Gateway) -> Outbox:
    """Attached to session `s`, wanting previews, with a current cursor."""
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", previews=True, owe_snapshot=False)
    return outbox
