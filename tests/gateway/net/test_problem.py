import msgspec

from gateway.net.problem import Problem
from protocol.errors import Invalid, RateLimited


def test_an_error_becomes_its_problem() -> None:
    problem = Problem.of(Invalid("steps must be at least 1", field="hatch.image.steps"))
    assert msgspec.json.decode(problem.body()) == {
        "title": problem.title,  # HTTP's words for 422 differ between Python versions
        "status": 422,
        "code": "invalid",
        "detail": "steps must be at least 1",
        "field": "hatch.image.steps",
    }


def test_a_retry_hint_is_in_the_body_and_rounded_up_in_the_header() -> None:
    problem = Problem.of(RateLimited("slow down", retry_after_ms=1200))
    body = problem.body()
    assert msgspec.json.decode(body)["retry_after_ms"] == 1200
    assert dict(problem.raw_headers(body)) == {
        b"content-type": b"application/problem+json",
        b"content-length": b"%d" % len(body),
        b"retry-after": b"2",
    }
