"""When a silent image job counts as stalled: a stage that should talk has less time than one that may be silent."""

import math

import msgspec

from protocol.events import Stage


class StallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds without a byte on the terminal after which a job counts as stalled.

    A step takes 3-15 s on a Mac (`steps_s`), and never less than `slow_factor` times the latest step is allowed for
    one; a download repaints its bar with every chunk; loading, encoding, decoding and saving say nothing at all, and
    neither does the first step, which loads the weights (55-73 s were seen).
    """

    steps_s: float = 120.0
    slow_factor: float = 5.0
    downloading_s: float = 300.0
    silent_s: float = 900.0


def stalls_at(
    limits: StallLimits, stage: Stage, last_output_s: float, *, step: int = 0, step_s: float | None = None
) -> float:
    """When the job counts as stalled if it says nothing before: `last_output_s` and the limit of its stage.

    `step` counts the finished steps, `step_s` is the latest one's duration. Infinite while no job runs.
    """
    match stage:
        case "steps" if step:
            return last_output_s + max(limits.steps_s, limits.slow_factor * (step_s or 0.0))
        case "downloading":
            return last_output_s + limits.downloading_s
        case "steps" | "loading" | "encoding" | "decoding" | "saving":
            return last_output_s + limits.silent_s
        case "queued" | "persona" | "waiting":
            return math.inf
