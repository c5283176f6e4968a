"""Supervision: who runs again, when, how often, and which error speaks for them all."""

from collections.abc import Callable, Iterator
from random import Random

import outcome
import pytest
import trio
import trio.testing

from actors.supervisor import ChildSpec, Supervisor, coded
from protocol.errors import HatcheryError, ImageFailed, Internal, LlmFailed, LlmUnavailable
from protocol.restart import Restart, RestartPolicy


class Longest(Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Script:
    """A child that plays one ending per start, an exception or None for a good end, each after `takes_s`."""

    def __init__(self, *endings: Exception | None, takes_s: float = 0.0) -> None:
        self._endings: Iterator[Exception | None] = iter(endings)
        self._takes_s = takes_s
        self.started_at: list[float] = []
        self.cancelled = False

    async def run(self) -> None:
        self.started_at.append(trio.current_time())
        try:
            await trio.sleep(self._takes_s)
        except trio.Cancelled:
            self.cancelled = True
            raise
        ending = next(self._endings)
        if ending is not None:
            raise ending


def child(
    script: Script,
    restart: Restart = Restart.TRANSIENT,
    *,
    name: str = "llm",
    may_retry: Callable[[HatcheryError], bool] = lambda error: error.retryable,
) -> ChildSpec:
    return ChildSpec(name, script.run, restart, may_retry)


class Restarts:
    """What the supervisor tells of restarts."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None, float]] = []

    async def __call__(self, spec: ChildSpec, error: HatcheryError | None) -> None:
        self.told.append((spec.name, error.code if error else None, trio.current_time()))


async def supervise(
    *children: ChildSpec, policy: RestartPolicy | None = None, on_restart: Restarts | None = None
) -> None:
    """Run to the end; the one error behind it is raised as an actor's boundary would."""
    policy = policy or RestartPolicy(intensity=2, period_s=60.0, backoff_s=1.0, backoff_max_s=15.0)
    try:
        async with trio.open_nursery() as nursery:
            await Supervisor(
                nursery, children, policy=policy, random=Longest(), on_restart=on_restart or Restarts()
            ).run()
    except BaseExceptionGroup as group:
        error = coded(group)
    else:
        return
    raise error


async def test_it_returns_when_all_children_have_ended_well(autojump_clock: trio.testing.MockClock) -> None:
    short, long = Script(None, takes_s=1), Script(None, takes_s=7)
    await supervise(child(short), child(long))
    assert autojump_clock.current_time() == 7
    assert len(short.started_at) == len(long.started_at) == 1


async def test_a_transient_child_runs_again_after_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    script, restarts = Script(LlmUnavailable("busy"), LlmUnavailable("busy"), None, takes_s=1), Restarts()
    await supervise(child(script), on_restart=restarts)
    assert script.started_at == [0, 2, 5], "waits of 1 and 2 s after attempts of 1 s"
    assert restarts.told == [("llm", "llm_unavailable", 1), ("llm", "llm_unavailable", 3)], "before the wait"


async def test_the_window_moves_on(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(*[LlmUnavailable("busy")] * 5, None, takes_s=31)
    await supervise(child(script))
    assert len(script.started_at) == 6


async def test_over_the_intensity_the_last_error_is_the_supervisors(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(LlmUnavailable("first"), LlmUnavailable("second"), LlmUnavailable("third"), None)
    with pytest.raises(LlmUnavailable, match="third"):
        await supervise(child(script))


async def test_a_failure_that_may_not_be_retried_ends_all(autojump_clock: trio.testing.MockClock) -> None:
    failing, waiting = Script(LlmFailed("no"), takes_s=1), Script(None, takes_s=1000)
    with pytest.raises(LlmFailed, match="no"):
        await supervise(child(failing), child(waiting, name="mflux"))
    assert waiting.cancelled
    assert autojump_clock.current_time() == 1


async def test_children_share_one_intensity(autojump_clock: trio.testing.MockClock) -> None:
    llm, mflux = Script(LlmUnavailable("busy"), None), Script(ImageFailed("crash", retryable=True), None, takes_s=1)
    with pytest.raises(ImageFailed):
        await supervise(child(llm), child(mflux, name="mflux"), policy=RestartPolicy(intensity=1))


async def test_one_childs_restart_leaves_the_other_alone(autojump_clock: trio.testing.MockClock) -> None:
    llm, mflux = Script(LlmUnavailable("busy"), None), Script(None, takes_s=30)
    await supervise(child(llm), child(mflux, name="mflux"))
    assert (len(llm.started_at), len(mflux.started_at)) == (2, 1)


@pytest.mark.parametrize("failure", [LlmUnavailable("busy"), None])
async def test_a_temporary_child_never_runs_again(
    failure: Exception | None, autojump_clock: trio.testing.MockClock
) -> None:
    script = Script(failure, None)
    if failure is None:
        await supervise(child(script, Restart.TEMPORARY))
    else:
        with pytest.raises(LlmUnavailable):
            await supervise(child(script, Restart.TEMPORARY))
    assert len(script.started_at) == 1


async def test_a_permanent_child_runs_again_however_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    script, restarts = Script(None, LlmUnavailable("busy"), LlmFailed("no")), Restarts()
    with pytest.raises(LlmFailed):
        await supervise(child(script, Restart.PERMANENT), on_restart=restarts)
    assert [code for _, code, _ in restarts.told] == [None, "llm_unavailable"]


async def test_a_permanent_child_that_keeps_ending_fails_its_supervisor(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script(None, None, None, None)
    with pytest.raises(Internal, match="llm"):
        await supervise(child(script, Restart.PERMANENT))
    assert len(script.started_at) == 3


async def test_a_hint_delays_the_restart(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(LlmUnavailable("busy", retry_after_ms=20_000), None)
    await supervise(child(script))
    assert script.started_at == [0, 20]


async def test_a_cancelled_backoff_starts_nothing(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(LlmUnavailable("busy", retry_after_ms=20_000), None)
    with trio.move_on_after(10) as scope:
        await supervise(child(script))
    assert scope.cancelled_caught
    assert len(script.started_at) == 1


async def test_an_unexpected_exception_is_internal_and_keeps_its_cause(autojump_clock: trio.testing.MockClock) -> None:
    cause = ZeroDivisionError("secret detail")
    with pytest.raises(Internal) as failed:
        await supervise(child(Script(cause)))
    assert failed.value.__cause__ is cause
    assert "secret" not in failed.value.message
    assert "ZeroDivisionError" in failed.value.message


async def test_an_error_out_of_a_childs_own_nursery_is_retried_like_any_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    group = ExceptionGroup("nursery", [ExceptionGroup("inner", [LlmUnavailable("busy", retry_after_ms=9000)])])
    script = Script(group, None)
    await supervise(child(script))
    assert script.started_at == [0, 9]


async def test_a_failing_notice_fails_the_supervisor(autojump_clock: trio.testing.MockClock) -> None:
    class Broken(Restarts):
        async def __call__(self, spec: ChildSpec, error: HatcheryError | None) -> None:
            raise Internal("the log is full")

    with pytest.raises(Internal, match="full"):
        await supervise(child(Script(LlmUnavailable("busy"), None)), on_restart=Broken())


# --- one error for many


async def cancelled_exception() -> BaseException:
    with trio.CancelScope() as scope:
        scope.cancel()
        captured = await outcome.acapture(trio.lowlevel.checkpoint)
    assert isinstance(captured, outcome.Error)
    return captured.error


async def test_of_several_failures_the_first_coded_one_speaks() -> None:
    first, second = LlmFailed("first"), ImageFailed("second")
    group = ExceptionGroup("all", [ValueError(), ExceptionGroup("inner", [KeyError(), first]), second])
    assert coded(group) is first
    assert coded(first) is first


async def test_a_group_without_a_code_is_internal_because_of_its_first() -> None:
    cause = ValueError("x")
    error = coded(ExceptionGroup("all", [cause, KeyError()]))
    assert isinstance(error, Internal)
    assert error.__cause__ is cause


async def test_a_failure_beside_a_cancellation_speaks() -> None:
    failure = LlmFailed("no")
    assert coded(BaseExceptionGroup("all", [await cancelled_exception(), failure])) is failure


async def test_a_mere_cancellation_goes_on() -> None:
    group = BaseExceptionGroup("all", [await cancelled_exception()])
    with pytest.raises(BaseExceptionGroup) as raised:
        coded(group)
    assert raised.value is group


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3)])
async def test_what_ends_the_process_is_no_failure(stop: BaseException) -> None:
    with pytest.raises(BaseExceptionGroup):
        coded(BaseExceptionGroup("all", [LlmFailed("no"), BaseExceptionGroup("inner", [stop])]))
