from pathlib import Path

import msgspec
import pytest

from gateway.config import SECTIONS, ConfigError
from gateway.layers import load_config


@pytest.mark.parametrize(
    "url",
    ["a.example", "", "https://", "ftp://a.example", "https://a.example/path", "https://u@a.example", "http://[::"],
)
def test_a_public_url_is_scheme_and_host(url: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.public_urls in the command line: .*matching regex"):
        load_config(None, {}, {"server.public_urls": [url]})


@pytest.mark.parametrize("origin", ["*", "null", "https://*.example", "a.example", "https://a.example/page"])
def test_an_allowed_origin_is_one_origin(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.allowed_origins"):
        load_config(None, {}, {"server.allowed_origins": [origin]})


@pytest.mark.parametrize("network", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "", "*"])
def test_a_trusted_proxy_is_a_network(network: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.trusted_proxies in the command line: "):
        load_config(None, {}, {"server.trusted_proxies": [network]})


@pytest.mark.parametrize(
    "token", ["hatchery_clear", "ada:hatchery_clear", "ada:sha256:ABC", "ada:md5:" + "a" * 64, "a b:sha256:" + "a" * 64]
)
def test_a_token_is_a_user_and_a_hash_and_a_wrong_one_is_never_shown(token: str) -> None:
    with pytest.raises(ConfigError, match=r"access\.tokens in the command line: ") as caught:
        load_config(None, {}, {"access.tokens": [token]})
    assert token not in str(caught.value)
    assert caught.value.__cause__ is None


def test_pages_of_desktop_programs_may_be_allowed() -> None:
    assert load_config(None, {}, {"server.allowed_origins": ["tauri://localhost"]}).server.allowed_origins


def test_data_lies_where_it_is_said_or_where_xdg_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/wren")
    assert load_config().data == tmp_path / "hatchery"
    assert load_config(None, {}, {"server.data": "~/eggs"}).data == Path("/home/wren/eggs")
    assert load_config(None, {}, {"server.data": "eggs"}).data == Path.cwd() / "eggs"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # to be ignored, by its specification
    assert load_config().data == Path("/home/wren/.local/share/hatchery")


def test_every_section_says_what_it_is_for_and_every_setting_has_a_default() -> None:
    """What the table of settings is made from."""
    for section, known in SECTIONS.items():
        assert known.__doc__, section
        for field in msgspec.structs.fields(known):
            assert field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT, field.name
            kind = type(getattr(known(), field.name))
            assert kind in (str, int, float, bool, list, dict), field.name
