"""Work side by side until the first of it ends."""

from collections.abc import Awaitable, Callable

import trio


async def race(*runs: Callable[[], Awaitable[None]]) -> None:
    """Run them all, and cancel the others when the first has ended; raises what that one raised, in no group."""
    failure: Exception | None = None

    async def take_part(run: Callable[[], Awaitable[None]]) -> None:
        nonlocal failure
        try:
            await run()
        except Exception as error:
            failure = failure or error  # past the nursery, which would wrap it in a group
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for run in runs:
            nursery.start_soon(take_part, run)
    if failure is not None:
        raise failure
