"""When a failed child may run again: restart intensity over a window, exponential backoff with full jitter.

Intensity as Erlang/OTP means it (https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity), jitter as
in https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

import enum
from collections import deque
from random import Random

import msgspec


class Restart(enum.Enum):
    """What an ended child means to its supervisor."""

    PERMANENT = "permanent"  # it is always run again
    TRANSIENT = "transient"  # it is run again when it failed
    TEMPORARY = "temporary"  # it is never run again


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """At most `intensity` restarts within `period_s`; waits grow from `backoff_s` by doubling up to `backoff_max_s`."""

    intensity: int = 1
    period_s: float = 60.0
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0


class RestartWindow:
    """The restarts of one supervisor, as they happen."""

    __slots__ = ("_policy", "_random", "_times")

    def __init__(self, policy: RestartPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._times: deque[float] = deque()

    def next_delay(self, now: float, at_least_s: float = 0.0) -> float | None:
        """Seconds to wait before one more restart, or None when the intensity is exceeded."""
        policy = self._policy
        while self._times and self._times[0] <= now - policy.period_s:
            self._times.popleft()
        if len(self._times) >= policy.intensity:
            return None
        ceiling = min(policy.backoff_max_s, policy.backoff_s * 2.0 ** len(self._times))
        self._times.append(now)
        return max(at_least_s, self._random.uniform(0.0, ceiling))

    def forget(self) -> None:
        """A child has done what it is for: what failed before it is over."""
        self._times.clear()
