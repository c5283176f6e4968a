"""The error tree: exactly the codes that clients may rely on."""

from collections import Counter

import pytest

from protocol.errors import HatcheryError, LlmUnavailable, PersonaInvalid, error_classes

CODES = [
    "bad_message",
    "unknown_type",
    "unsupported_version",
    "unauthenticated",
    "forbidden",
    "not_found",
    "gone",
    "key_conflict",
    "invalid",
    "too_large",
    "rate_limited",
    "quota_exceeded",
    "overloaded",
    "draining",
    "llm_unavailable",
    "llm_failed",
    "persona_invalid",
    "image_unavailable",
    "image_failed",
    "deadline_exceeded",
    "internal",
]


def test_every_code_of_the_contract_exists_exactly_once() -> None:
    leaves = [leaf for leaf in HatcheryError.__subclasses__() if leaf.__module__ == "protocol.errors"]
    assert Counter(leaf.code for leaf in leaves) == Counter(CODES)
    assert {code: error_classes()[code].code for code in CODES} == dict(zip(CODES, CODES, strict=True))


@pytest.mark.parametrize("code", CODES)
def test_every_leaf_has_an_http_error_status(code: str) -> None:
    assert 400 <= error_classes()[code].status < 600


def test_what_may_work_later() -> None:
    retryable = {code for code in CODES if error_classes()[code].retryable}
    busy = {"rate_limited", "quota_exceeded", "overloaded", "draining"}
    assert retryable == busy | {"llm_unavailable", "deadline_exceeded"}


def test_an_error_carries_its_details() -> None:
    error = LlmUnavailable("busy", retry_after_ms=1500, retryable=False, field="x")
    assert (str(error), error.message, error.field) == ("busy", "busy", "x")
    assert (error.retryable, error.retry_after_ms) == (False, 1500)
    assert LlmUnavailable("busy").retryable, "one error's word changes nothing for the others"
    assert PersonaInvalid("no").field is None
