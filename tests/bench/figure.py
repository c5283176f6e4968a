"""One measured number beside the bar that it is to stay below, and a table of them."""

from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """`value` in `unit`; `bar`, if there is one, is the highest value that is good enough."""

    what: str
    value: float
    unit: str
    bar: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is good enough."""
        return self.bar is None or self.value <= self.bar


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print them as a table."""
    print(f"\n{title}")
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        verdict = "" if figure.bar is None else f"   bar {figure.bar:g}: {'holds' if figure.holds else 'DOES NOT HOLD'}"
        print(f"  {figure.what:{width}} {figure.value:12,.2f} {figure.unit:10}{verdict}", flush=True)
