from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.mflux.offer import NamedLora, NamedModel
from gateway.config import SECTIONS, Config, ConfigError, UserQuota
from gateway.layers import PREFIX, load_config


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "hatchery.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_given_is_the_default() -> None:
    assert load_config() == Config()


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, '[server]\nport = 1\nhost = "127.0.0.1"\nbad_messages = 5\n[wire]\ntick_ms = 7')
    environ = {"HATCHERY_SERVER_PORT": "2", "HATCHERY_SERVER_HOST": "::1", "PATH": "/bin"}
    config = load_config(file, environ, {"server.port": 3, "server.data": None})
    assert (config.server.port, config.server.host, config.server.bad_messages) == (3, "::1", 5)
    assert config.wire.tick_ms == 7.0
    assert config.server.data == ""


SAMPLES: dict[str, Any] = {
    "public_urls": ["https://a.example", "http://b.example:8080"],
    "allowed_origins": ["https://a.example", "tauri://localhost"],
    "trusted_proxies": ["10.0.0.0/8", "::1"],
    "prewarm": "on",
    "think": "on",
    "models": {"mine": "/models/mine", "turbo": "z-image-turbo"},
    "loras": {"ink": "someone/ink"},
    "access.tokens": [f"ada:sha256:{'a' * 64}", f"b.o-b_2:sha256:{'0' * 64}"],
}


def test_every_setting_can_be_given_in_each_place(tmp_path: Path) -> None:
    samples: dict[str, dict[str, Any]] = {
        section: {
            name: SAMPLES.get(f"{section}.{name}") or SAMPLES.get(name) or _another(getattr(known(), name))
            for name in known.__struct_fields__
            if name != "quotas"  # a table of tables, for the file alone
        }
        for section, known in SECTIONS.items()
    }
    wanted = msgspec.convert(samples, Config)
    toml = "".join(
        f"[{section}]\n" + "".join(f"{name} = {_as_toml(value)}\n" for name, value in values.items())
        for section, values in samples.items()
    )
    environ = {
        f"{PREFIX}{section}_{name}".upper(): _as_text(value)
        for section, values in samples.items()
        for name, value in values.items()
    }
    flags = {f"{section}.{name}": value for section, values in samples.items() for name, value in values.items()}
    assert load_config(_file(tmp_path, toml)) == load_config(None, environ) == load_config(None, {}, flags) == wanted


def _as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_as_toml(each)}" for name, each in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def _as_text(value: object) -> str:
    match value:
        case list():
            return ",".join(value)
        case dict():
            return ", ".join(f"{name}={each}" for name, each in value.items())
        case _:
            return str(value)


def _another(value: object) -> Any:
    """Another value of the same type that every setting of it takes."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value / 2 + 0.125
        case _:
            return "127.0.0.2"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nport = 99999", "server.port in the file: Expected `int` <= 65535, not 99999"),
        ("[server]\nport = '80'", "server.port in the file: Expected `int`, got `str`"),
        ("[wire]\ntick_ms = 0", "wire.tick_ms in the file: Expected `float` > 0.0"),
        ("[wire]\ntick_ms = nan", "wire.tick_ms in the file"),
        ("[wire]\ntick_ms = inf", "wire.tick_ms in the file: Expected `float` <= 1000000000.0"),
        ("[wire]\ndeflate = 1", "wire.deflate in the file: Expected `bool`"),
        ("[hatch]\nrunning = 0", "hatch.running in the file: Expected `int` >= 1"),
        ("[sim]\njitter = 1.0", "sim.jitter in the file: Expected `float` < 1.0"),
        ("[server]\npublic_urls = 'https://a.example'", "server.public_urls in the file: Expected `array`"),
        ("[server]\nprot = 1", "server.prot in the file is no setting; [server] has host, port"),
        ("[sever]", "[sever] in the file is no section; there are server, access, llm, image, cancel, "),
        ("server = 1", "server in the file is a section: write [server]"),
        ("[server", "is not TOML"),
        ("[image.loras]\nink = '--help'", "image.loras in the file: Expected `str` matching regex"),
        ("[image.loras]\nink = { path = 'a', scale = nan }", "image.loras in the file: Expected `float`"),
        ("[image.models]\nmine = { path = 'a', base = 'dev' }", "image.models in the file: Object contains unknown"),
    ],
)
def test_a_wrong_file_is_named_with_its_key_and_what_is_allowed(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(_file(tmp_path, toml))
    assert said in str(caught.value)


def test_models_and_loras_are_tables_of_names(tmp_path: Path) -> None:
    toml = """
        [image.models]
        schnell = "schnell"
        mine = { path = "/models/mine", base_model = "dev" }
        [image.loras]
        ink = "someone/ink:ink.safetensors"
        faint = { path = "someone/ink:ink.safetensors", scale = 0.4 }
    """
    image = load_config(_file(tmp_path, toml)).image
    assert image.models == {"schnell": "schnell", "mine": NamedModel(path="/models/mine", base_model="dev")}
    ink = "someone/ink:ink.safetensors"
    assert image.loras == {"ink": ink, "faint": NamedLora(path=ink, scale=0.4)}


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HATCHERY_SERVER_PORT", "abc", "server.port in the environment: Expected `int`, got `str`, not 'abc'"),
        ("HATCHERY_SERVER_PORT", "", "server.port in the environment"),
        ("HATCHERY_SERVER_STOP_S", "inf", "server.stop_s in the environment"),
        ("HATCHERY_SERVER_PROT", "1", "HATCHERY_SERVER_PROT is no setting"),
        ("HATCHERY_NOPE", "1", "SECTION one of server, access, llm, image, cancel, hatch, wire, sim"),
        ("HATCHERY_IMAGE_MODELS", "dev", "image.models in the environment: Expected `str` matching regex"),
        ("HATCHERY_SERVER_ALLOWED_ORIGINS", "*", "server.allowed_origins in the environment"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {variable: value})
    assert said in str(caught.value)


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"server\.port in the command line: Expected `int` >= 0, not -1"):
        load_config(None, {}, {"server.port": -1})


def test_a_wrong_value_is_found_although_a_later_layer_overrides_it() -> None:
    with pytest.raises(ConfigError, match=r"server\.port in the environment"):
        load_config(None, {"HATCHERY_SERVER_PORT": "x"}, {"server.port": 1})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read: No such file"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "latin1.toml").write_bytes(b'[llm]\nmodel = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin1\.toml is not TOML"):
        load_config(tmp_path / "latin1.toml")


@pytest.mark.parametrize("spelling", ["true", "1", "True"])
def test_a_boolean_variable(spelling: str) -> None:
    assert load_config(None, {"HATCHERY_WIRE_DEFLATE": spelling}).wire.deflate is True


def test_a_list_variable_is_separated_by_commas() -> None:
    config = load_config(None, {"HATCHERY_SERVER_PUBLIC_URLS": " https://a.example ,http://[fd00::1]:81/, "})
    assert config.server.public_urls == ["https://a.example", "http://[fd00::1]:81/"]


def test_a_secret_is_not_quoted_and_what_only_sounds_like_one_is() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, {"llm.api_key": 4711})
    assert "4711" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"sim\.tokens in the command line: .*, not 4711"):
        load_config(None, {}, {"sim.tokens": 4711})


def test_a_user_s_quota_is_a_table_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hatchery.toml"
    file.write_text('[access.quotas.ada]\nhatches = 2\n[access.quotas."b.c"]\nmessages_per_s = 0.5\n')
    quotas = load_config(file).access.quotas
    assert quotas == {"ada": UserQuota(hatches=2), "b.c": UserQuota(messages_per_s=0.5)}
    with pytest.raises(ConfigError, match=r"HATCHERY_ACCESS_QUOTAS: .* is a table"):
        load_config(None, {"HATCHERY_ACCESS_QUOTAS": "ada:2"})
    for wrong, said in (("ada.hatches = 0", ">= 1"), ("ada.beds = 1", "unknown field"), ("'a b'.hatches = 1", "regex")):
        file.write_text(f"[access.quotas]\n{wrong}\n")
        with pytest.raises(ConfigError, match=f"access.quotas in the file: .*{said}"):
            load_config(file)
