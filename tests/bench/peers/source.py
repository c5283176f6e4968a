"""No server at all: every event is made in its rhythm and dropped, which is what all the peers have in common."""

import trio

from tests.bench.shape import asked, finished, pushes, ready, slots, wait_for_go


async def _drive() -> None:
    shape = asked()
    ready(0)
    await trio.to_thread.run_sync(wait_for_go)
    if shape.push:
        for _word in pushes(shape):
            pass
    else:
        began = trio.current_time()
        for when, _events in slots(shape):
            await trio.sleep_until(began + when)
    finished()
    await trio.to_thread.run_sync(wait_for_go)


if __name__ == "__main__":
    trio.run(_drive)
