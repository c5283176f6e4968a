import email.utils
import time

import pytest

from actors.llm.endpoint import Endpoint, retry_after_ms


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
        (" http://127.0.0.1:8080/v1/ ", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/chat/completions", "http://127.0.0.1:8080/v1"),
        ("https://api.example.com/openai/v1", "https://api.example.com/openai/v1"),
        ("https://me:secret@api.example.com/v1?key=secret#top", "https://api.example.com/v1"),
    ],
)
def test_base_urls_as_people_give_them(given: str, used: str) -> None:
    endpoint = Endpoint(given, "sk-secret")
    assert str(endpoint) == used
    assert "secret" not in repr(endpoint)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("localhost", True),
        ("192.168.0.4", False),
        ("localhost.example.com", False),
    ],
)
def test_which_servers_are_on_this_machine(host: str, loopback: bool) -> None:
    assert Endpoint(f"http://{host}:8080").is_loopback is loopback


@pytest.mark.parametrize(
    ("header", "milliseconds"),
    [(None, None), ("2", 2000), ("0.25", 250), ("-3", 0), ("soon", None), ("inf", None), ("nan", None), ("", None)],
)
def test_retry_after(header: str | None, milliseconds: int | None) -> None:
    assert retry_after_ms(header) == milliseconds


def test_retry_after_as_a_date() -> None:
    hint = retry_after_ms(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert hint is not None
    assert 57_000 < hint <= 61_000
    assert retry_after_ms(email.utils.formatdate(0, usegmt=True)) == 0
