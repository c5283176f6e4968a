"""Stages and fractions to one honest percent of the whole hatch: 0-33 the persona, 33-100 the avatar."""

from typing import Final, TypedDict, Unpack

from protocol.events import Basis, Progress, Stage

PERSONA_DONE: Final = 33.0
_ALMOST: Final = 0.1  # what a stage stays below its end until the next thing has really happened

# The share of the whole bar that each stage may fill: where it begins and where it ends, in percent.
SPANS: Final[dict[Stage, tuple[float, float]]] = {
    "queued": (0.0, 0.0),
    "persona": (0.0, PERSONA_DONE),
    "waiting": (PERSONA_DONE, PERSONA_DONE),
    "downloading": (33.0, 35.0),
    "loading": (35.0, 37.0),
    "encoding": (37.0, 38.0),
    "steps": (38.0, 95.0),
    "decoding": (95.0, 98.0),
    "saving": (98.0, 99.5),
}


class Details(TypedDict, total=False):
    """What a progress event may add; see `Progress`."""

    step: int | None
    steps: int | None
    step_s: float | None
    eta_s: tuple[float, float] | None
    queue_position: int | None


class ProgressModel:
    """The percent of one session; within an epoch it never goes back."""

    __slots__ = ("_last", "_session", "_supposed", "percent")

    def __init__(self, session: str) -> None:
        self._session = session
        self.percent = 0.0
        self._supposed = False  # the percent is an estimate's
        self._last: Progress | None = None

    def begin_epoch(self, percent: float) -> None:
        """Start over at `percent`: 0, or 33 when a complete persona is kept."""
        self.percent, self._supposed = percent, False
        self._last = None

    def reach(
        self, stage: Stage, basis: Basis, message: str, fraction: float | None = None, **details: Unpack[Details]
    ) -> Progress | None:
        """What to show for being at `fraction` (0 to 1; None: its beginning) of `stage`, or None if nothing is new."""
        begin, end = SPANS[stage]
        reached = begin + (end - begin) * min(max(fraction or 0.0, 0.0), 1.0)
        if stage == "persona":
            reached = min(reached, PERSONA_DONE - _ALMOST)
        return self._say(reached, stage, basis, message, **details)

    def persona_complete(self) -> Progress | None:
        """33 %: the persona is complete and valid."""
        return self._say(PERSONA_DONE, "persona", "measured", "The persona is written")

    def done(self) -> Progress:
        """100 %: to be sent directly before `end` with `done`, and never otherwise."""
        self.percent = 100.0
        return Progress(session=self._session, percent=100.0, stage="saving", basis="measured", message="Hatched")

    def _say(
        self, percent: float, stage: Stage, basis: Basis, message: str, **details: Unpack[Details]
    ) -> Progress | None:
        percent = round(percent, 1)
        if percent > self.percent or (percent == self.percent and basis == "measured"):
            self.percent, self._supposed = percent, basis == "estimated"
        elif basis == "measured" and self._supposed:  # what is shown is more than what the engine said
            basis = "estimated"
        progress = Progress(
            session=self._session, percent=self.percent, stage=stage, basis=basis, message=message, **details
        )
        if progress == self._last:
            return None
        self._last = progress
        return progress
