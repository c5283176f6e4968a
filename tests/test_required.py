import pytest

from tests.helpers.required import PROMISED, require


def test_what_is_there_is_found() -> None:
    assert require("sh").endswith("/sh")


def test_what_is_missing_skips_its_test_unless_it_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMISED, "nginx,hatchery-nothing-2")
    with pytest.raises(pytest.skip.Exception, match="hatchery-nothing is not installed"):
        require("hatchery-nothing")
    monkeypatch.setenv(PROMISED, "nginx, hatchery-nothing")
    with pytest.raises(pytest.fail.Exception, match=PROMISED):
        require("hatchery-nothing")
