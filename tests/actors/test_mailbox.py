"""Bounded mailboxes: order, the bound, and nothing lost under cancellation."""

import pytest
import trio
import trio.testing

from actors.mailbox import Mailbox, MailboxFull
from tests.helpers.fakes import seeded_scheduler


async def test_mail_comes_in_order() -> None:
    box: Mailbox[int] = Mailbox(3)
    for number in range(3):
        box.post(number)
    assert len(box) == 3
    assert [await box.receive() for _ in range(3)] == [0, 1, 2]


async def test_a_full_one_refuses_at_once_and_keeps_what_it_has() -> None:
    box: Mailbox[str] = Mailbox(1)
    box.post("kept")
    with pytest.raises(MailboxFull, match="1 messages"):
        box.post("refused")
    assert await box.receive() == "kept"
    box.post("there is room again")
    assert await box.receive() == "there is room again"


async def test_a_receiver_waits_for_mail(autojump_clock: trio.testing.MockClock) -> None:
    box: Mailbox[str] = Mailbox(1)

    async def post_later() -> None:
        await trio.sleep(5)
        box.post("late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post_later)
        assert await box.receive() == "late"
    assert autojump_clock.current_time() == 5


async def test_receiving_is_a_checkpoint_even_when_there_is_mail() -> None:
    box: Mailbox[int] = Mailbox(1)
    box.post(1)
    with trio.testing.assert_checkpoints():
        await box.receive()


async def test_a_cancelled_call_takes_nothing() -> None:
    box: Mailbox[int] = Mailbox(1)
    box.post(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await box.receive()
    assert len(box) == 1
    assert await box.receive() == 1


@pytest.mark.parametrize("seed", range(10))
async def test_two_receivers_share_without_stumbling(seed: int) -> None:
    box: Mailbox[int] = Mailbox(10)
    received: list[int] = []

    async def receive() -> None:
        received.append(await box.receive())

    with seeded_scheduler(seed):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(receive)
            await trio.lowlevel.checkpoint()  # the second one is about to look
            box.post(1)
            await trio.testing.wait_all_tasks_blocked()
            assert received == [1]
            box.post(2)
    assert received == [1, 2]


@pytest.mark.parametrize("seed", range(10))
async def test_nothing_is_lost_when_calls_are_cancelled_while_mail_arrives(seed: int) -> None:
    box: Mailbox[int] = Mailbox(100)
    received: list[int] = []

    with seeded_scheduler(seed) as random:

        async def receive_with_interruptions() -> None:
            while len(received) < 50:
                with trio.CancelScope() as scope:
                    if random.random() < 0.5:
                        nursery.start_soon(interrupt, scope, random.randrange(4))
                    received.append(await box.receive())

        async def interrupt(scope: trio.CancelScope, checkpoints: int) -> None:
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_with_interruptions)
            for number in range(50):
                box.post(number)
                for _ in range(random.randrange(3)):
                    await trio.lowlevel.checkpoint()
    assert received == list(range(50))
