"""The mflux actor: waits for the persona, takes a render slot, has the picture drawn, and says where it is stored."""

import msgspec

from actors.mailbox import Mailbox
from actors.mflux.engine import FindInput, ImageEngine, RenderJob, Tell
from actors.slots import Slots
from protocol.commands import ImageOptions
from protocol.errors import NotFound
from protocol.forecast import Range
from protocol.mail import (
    DrawingBegan,
    PersonaWritten,
    PictureStored,
    RenderMail,
    RenderQueued,
    StepFinished,
    WorkerLeft,
)


class RenderOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose picture it is to be, and how it is to be drawn."""

    session: str
    owner: str
    image: ImageOptions
    seed: int


async def run_mflux_actor(
    order: RenderOrder,
    *,
    mailbox: Mailbox[PersonaWritten],
    engine: ImageEngine,
    slots: Slots,
    tell: Tell,
    find_input: FindInput | None = None,
) -> None:
    """Draw the one picture of a session; the slot is free again only when the engine's worker is gone.

    Raises ImageUnavailable or ImageFailed, and what was true when the hatch was started but is no more, or was not
    known yet: NotFound for its input, Invalid for an option.
    """
    await engine.confirm(order.image)  # while the persona is written, and before a slot is taken
    persona = (await mailbox.receive()).persona
    picture = None
    if order.image.input is not None:
        if find_input is None:
            raise NotFound("the input picture is gone: this gateway keeps no uploads")
        picture = await find_input(order.owner, order.image.input)

    expected: Range | None = None

    async def on_position(position: int) -> None:
        nonlocal expected
        expected = expected or await engine.expected(order.image)
        await tell(RenderQueued(position=position, eta_s=_until_drawn(position, expected, slots)))

    async with slots.hold(order.owner, on_position) as slot:
        steps = engine.planned_steps(order.image)

        async def tell_and_guard_slot(letter: RenderMail) -> None:
            nonlocal steps
            if isinstance(letter, StepFinished):
                steps = steps or letter.steps
            if isinstance(letter, WorkerLeft) and letter.fate == "stuck":
                slot.quarantine()
            await tell(letter)

        await tell(DrawingBegan(steps=steps))
        job = RenderJob(session=order.session, persona=persona, image=order.image, seed=order.seed, input=picture)
        stored = await engine.draw(job, tell_and_guard_slot)
    maker = engine.maker(order.image)
    await tell(PictureStored(**msgspec.structs.asdict(stored), painter=maker, seed=order.seed, steps=steps or None))


def _until_drawn(position: int, expected: Range | None, slots: Slots) -> Range | None:
    """Its turn and then itself, as if all drawings took as long as this one, and those under way had only begun."""
    if expected is None:
        return None
    rounds = position / max(slots.capacity - slots.quarantined, 1) + 1
    return round(rounds * expected[0], 1), round(rounds * expected[1], 1)
