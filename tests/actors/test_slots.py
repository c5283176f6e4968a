"""Slots: turns by owner, truthful places in line, and never one lost, whoever is cancelled when."""

import itertools
import math
from random import Random

import pytest
import trio
import trio.testing

from actors.slots import COARSE, EXACT, Slots
from protocol.errors import Overloaded
from tests.helpers.fakes import seeded_scheduler


async def ignore(position: int) -> None:
    """For those who do not ask for their place."""


class Line:
    """Holders of one `Slots`, who record when they are served and what they are told."""

    def __init__(self, nursery: trio.Nursery, slots: Slots, takes_s: float = 1.0) -> None:
        self.served: list[str] = []
        self.told: dict[str, list[int]] = {}
        self.scopes: dict[str, trio.CancelScope] = {}
        self._nursery = nursery
        self._slots = slots
        self._takes_s = takes_s

    async def join(self, *names: str) -> None:
        """Queue up, one after the other; the owner of `a1` is `a`."""
        for name in names:
            self._nursery.start_soon(self._hold, name)
            await trio.testing.wait_all_tasks_blocked()

    async def _hold(self, name: str) -> None:
        positions = self.told[name] = []

        async def on_position(position: int) -> None:
            positions.append(position)

        with trio.CancelScope() as scope:
            self.scopes[name] = scope
            async with self._slots.hold(name[0], on_position):
                self.served.append(name)
                await trio.sleep(self._takes_s)


async def test_a_free_slot_is_taken_at_once_and_nobody_is_told_of_a_line() -> None:
    slots = Slots(2)
    told: list[int] = []

    async def on_position(position: int) -> None:
        told.append(position)

    async with slots.hold("a", on_position), slots.hold("a", on_position):
        assert (slots.held, slots.waiting) == (2, 0)
    assert slots.held == 0
    assert told == []


async def test_no_more_than_the_capacity_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    slots = Slots(3)
    most = 0

    async def hold() -> None:
        nonlocal most
        async with slots.hold("a", ignore):
            most = max(most, slots.held)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(hold)
    assert most == 3
    assert autojump_clock.current_time() == 4, "and never fewer, while anyone waits"


async def test_owners_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    assert line.served == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_an_owner_cannot_jump_the_line_by_leaving_and_coming_back(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join("a1", "a2", "b1", "c1")
        await trio.sleep(1)  # a2 is served: a has nobody in line any more
        await line.join("a3")
    assert line.served == ["a1", "a2", "b1", "c1", "a3"]


async def test_places_count_turns_and_are_told_when_they_change(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join("a1", "a2", "a3", "b1", "b2")
        assert line.told == {"a1": [], "a2": [1], "a3": [2, 3], "b1": [2], "b2": [4]}
    assert line.served == ["a1", "a2", "b1", "a3", "b2"]
    assert line.told == {"a1": [], "a2": [1], "a3": [2, 3, 2, 1], "b1": [2, 1], "b2": [4, 3, 2, 1]}


async def test_a_place_is_the_number_of_turns_until_ones_own(autojump_clock: trio.testing.MockClock) -> None:
    random = Random(7)
    names = [f"{random.choice('abc')}{number}" for number in range(EXACT + 1)]
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join(*names)
        in_line = {name: told[-1] for name, told in line.told.items() if told}
    assert line.served[1:] == sorted(in_line, key=lambda name: in_line[name])
    assert sorted(in_line.values()) == list(range(1, EXACT + 1))


@pytest.mark.parametrize("owners", ["a", "abcdefg"])
async def test_a_long_line_is_told_as_little_as_its_length_times_a_logarithm(
    owners: str, autojump_clock: trio.testing.MockClock
) -> None:
    waiting = 300
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join(*(f"{owners[n % len(owners)]}{n}" for n in range(waiting + 1)))
    assert len(line.served) == waiting + 1
    bound = EXACT + 1 + math.log(waiting / EXACT) / -math.log(1 - COARSE)
    for told in list(line.told.values())[1:]:
        assert told[-EXACT:] == list(range(min(told[0], EXACT), 0, -1)), "near the front every place"
        assert all(after <= (1 - COARSE) * before for before, after in itertools.pairwise(told) if after > EXACT)
        assert len(told) <= bound


async def test_who_leaves_the_line_moves_the_others_up(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        slots = Slots(1)
        line = Line(nursery, slots)
        await line.join("a1", "b1", "c1", "d1")
        line.scopes["b1"].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (line.told["c1"], line.told["d1"]) == ([2, 1], [3, 2])
        assert slots.waiting == 2
    assert line.served == ["a1", "c1", "d1"]


async def test_a_slow_listener_hears_the_newest_place_and_is_served_in_its_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slots = Slots(1)
    told: list[int] = []

    async def slowly(position: int) -> None:
        told.append(position)
        await trio.sleep(2.5)

    async def hold_slowly() -> None:
        async with slots.hold("z", slowly):
            told.append(0)

    async with trio.open_nursery() as nursery:
        line = Line(nursery, slots)
        await line.join("a1", "b1", "c1", "d1")
        nursery.start_soon(hold_slowly)
    assert told == [4, 2, 0], "at 0, 2.5 and 5 s; the turns change each second"


async def test_a_listener_that_fails_leaves_the_line() -> None:
    slots = Slots(1)

    async def fail(position: int) -> None:
        raise RuntimeError("cannot tell")

    async with slots.hold("a", ignore):
        with pytest.raises(RuntimeError, match="cannot tell"):
            async with slots.hold("b", fail):
                pass
        assert slots.waiting == 0
    assert slots.held == 0


async def test_a_failing_holder_frees_its_slot() -> None:
    slots = Slots(1)
    with pytest.raises(RuntimeError):
        async with slots.hold("a", ignore):
            raise RuntimeError
    async with slots.hold("b", ignore):
        assert slots.held == 1


async def test_a_quarantined_slot_is_never_given_out_again(autojump_clock: trio.testing.MockClock) -> None:
    slots = Slots(2)
    async with slots.hold("a", ignore) as slot:
        slot.quarantine()
    assert (slots.held, slots.quarantined) == (0, 1)
    async with trio.open_nursery() as nursery:
        line = Line(nursery, slots)
        await line.join("a1", "b1", "a2")
        assert line.served == ["a1"]
    assert autojump_clock.current_time() == 3
    assert (slots.held, slots.quarantined) == (0, 1)


@pytest.mark.parametrize("seed", range(30))
async def test_no_slot_is_ever_lost(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Many holders with random timing, all cancelled at random moments, listeners that wait and listeners that fail."""
    slots = Slots(3)
    holding = 0

    with seeded_scheduler(seed) as random:

        async def on_position(position: int) -> None:
            assert position >= 1
            match random.randrange(4):
                case 0:
                    await trio.sleep(random.random() / 4)
                case 1:
                    await trio.lowlevel.checkpoint()
                case 2 if random.random() < 0.1:
                    raise RuntimeError("cannot tell")
                case _:
                    pass

        async def hold(owner: str) -> None:
            nonlocal holding
            await trio.sleep(random.randrange(20) / 8)
            with trio.move_on_after(random.randrange(20) / 8):  # often at the very moment of a hand-over
                try:
                    async with slots.hold(owner, on_position):
                        holding += 1
                        try:
                            assert holding <= slots.held <= 3
                            await trio.sleep(random.randrange(4) / 8)
                        finally:
                            holding -= 1
                except RuntimeError:
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(hold, random.choice("abcd"))
    assert (slots.held, slots.waiting, slots.quarantined) == (0, 0, 0)
    with trio.fail_after(1):
        async with slots.hold("a", ignore), slots.hold("b", ignore), slots.hold("c", ignore):
            assert slots.held == 3


async def test_nobody_waits_for_slots_that_are_all_quarantined(autojump_clock: trio.testing.MockClock) -> None:
    slots = Slots(1)
    refused: list[str] = []

    async def wait() -> None:
        with pytest.raises(Overloaded, match="restart"):
            async with slots.hold("b", ignore):
                pass
        refused.append("b")

    async with trio.open_nursery() as nursery, slots.hold("a", ignore) as slot:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        slot.quarantine()
    await wait()
    assert refused == ["b", "b"]


async def test_who_joins_a_long_line_last_is_told_its_place_and_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        names = [f"a{number}" for number in range(101)]
        await line.join(*names)
        assert [line.told[name] for name in names] == [[], *([place] for place in range(1, 101))]
    assert line.served == names


async def test_the_first_request_of_another_owner_moves_those_behind_it(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        line = Line(nursery, Slots(1))
        await line.join("a1", "a2", "a3", "b1", "b2", "a4")
        assert [line.told[name] for name in ("a2", "a3", "b1", "b2", "a4")] == [[1], [2, 3], [2], [4], [5]]
