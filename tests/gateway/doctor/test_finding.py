"""What is not well comes with a remedy, or not at all."""

import pytest

from gateway.doctor.finding import Finding, Status, notice, ok, problem


def test_only_what_is_well_needs_no_remedy() -> None:
    assert ok("disk", "plenty").remedy == ""
    assert [notice("disk", "little", "df").status, problem("disk", "none", "df").status] == ["notice", "problem"]
    statuses: tuple[Status, ...] = ("notice", "problem")
    for status in statuses:
        with pytest.raises(ValueError, match="disk"):
            Finding("disk", status, "little")
