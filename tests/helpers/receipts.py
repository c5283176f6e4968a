"""The receipt of a session that did nothing."""

from protocol.events import Engines, Receipt

ENGINES = Engines(llm="sim", image="sim")
RECEIPT = Receipt(
    queued_ms=0,
    writing_ms=0,
    waiting_ms=0,
    drawing_ms=0,
    total_ms=0,
    steps_done=0,
    steps=0,
    worker="none",
    llm="none",
    engines=ENGINES,
)
