"""A supervisor of a few children in one nursery and one loop, with the meaning that Erlang/OTP gave the words."""

from collections.abc import Awaitable, Callable, Sequence
from random import Random

import msgspec
import trio

from actors.mailbox import Mailbox
from protocol.errors import HatcheryError, Internal
from protocol.restart import Restart, RestartPolicy, RestartWindow


class ChildSpec(msgspec.Struct, frozen=True):
    """One child: `run` is called afresh for every start; `may_retry` tells failures worth a restart from the others."""

    name: str
    run: Callable[[], Awaitable[None]]
    restart: Restart
    may_retry: Callable[[HatcheryError], bool]


OnRestart = Callable[[ChildSpec, HatcheryError | None], Awaitable[None]]


class _Exit(msgspec.Struct, frozen=True):
    child: ChildSpec
    error: HatcheryError | None


class Supervisor:
    """Runs children one for one in `nursery` until all have ended; a failure that may not be retried ends them all.

    `on_restart` is told which child runs again and why, before the backoff begins.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        children: Sequence[ChildSpec],
        *,
        policy: RestartPolicy,
        random: Random,
        on_restart: OnRestart,
    ) -> None:
        self._nursery = nursery
        self._children = children
        self._window = RestartWindow(policy, random)
        self._on_restart = on_restart
        self._exits: Mailbox[_Exit] = Mailbox(len(children))

    async def run(self) -> None:
        """Return when every child has ended well. Raises the error of one that may not, or not again, be restarted."""
        running = 0
        for child in self._children:
            self._nursery.start_soon(self._run_child, child, 0.0)
            running += 1
        while running:
            exit_ = await self._exits.receive()
            delay = self._restart_delay(exit_)
            if delay is not None:
                await self._on_restart(exit_.child, exit_.error)
                self._nursery.start_soon(self._run_child, exit_.child, delay)
            elif exit_.error is not None:
                raise exit_.error
            elif exit_.child.restart is Restart.PERMANENT:
                raise Internal(f"the {exit_.child.name} actor, which should go on for ever, keeps ending")
            else:
                running -= 1

    def _restart_delay(self, exit_: _Exit) -> float | None:
        """Seconds until the child runs again, or None when it does not."""
        restart, error = exit_.child.restart, exit_.error
        if restart is Restart.TEMPORARY or (error is None and restart is Restart.TRANSIENT):
            return None
        if error is None:
            return self._window.next_delay(trio.current_time())
        if not exit_.child.may_retry(error):
            return None
        return self._window.next_delay(trio.current_time(), (error.retry_after_ms or 0) / 1000)

    async def _run_child(self, child: ChildSpec, delay: float) -> None:
        error: HatcheryError | None = None
        try:
            await trio.sleep(delay)
            await child.run()
        except (Exception, BaseExceptionGroup) as raised:
            error = coded(raised)
        self._exits.post(_Exit(child, error))


def coded(raised: BaseException) -> HatcheryError:
    """The one coded error behind whatever an actor raised, with the original as its cause.

    Of several failures the first coded one speaks. Raises again what is no failure: trio.Cancelled when there was
    nothing else, and a KeyboardInterrupt or SystemExit always.
    """
    if isinstance(raised, HatcheryError):
        return raised
    if isinstance(raised, BaseExceptionGroup):
        _, failures = raised.split(trio.Cancelled)
        if not isinstance(failures, ExceptionGroup):
            raise raised
        leaves = list(_leaves(failures))
        chosen = next((leaf for leaf in leaves if isinstance(leaf, HatcheryError)), leaves[0])
        return coded(chosen)
    error = Internal(f"an internal error ({type(raised).__name__}); the gateway's log has the details")
    error.__cause__ = raised
    return error


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return found
