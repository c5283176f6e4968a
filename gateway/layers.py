"""The configuration of a TOML file, `HATCHERY_*` variables and flags, in rising order of precedence.

A setting `section.name` is `[section] name` in the file, and `HATCHERY_SECTION_NAME` among the variables.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from actors.census import MARKER
from gateway.config import SECRET, SECTIONS, Config, ConfigError

Settings = dict[str, dict[str, Any]]

PREFIX: Final = "HATCHERY_"
_FILE_ONLY: Final = frozenset({"quotas"})  # tables of tables


def load_config(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Config:
    """The configuration; `flags` maps `section.name` to values. Raises ConfigError."""
    layers = [("the file", _from_file(file)), ("the environment", _from_environ(environ or {}))]
    layers.append(("the command line", _from_flags(flags or {})))
    settings: Settings = {}
    for source, layer in layers:
        _check(layer, source)
        for section, values in layer.items():
            settings.setdefault(section, {}).update(values)
    return msgspec.convert(settings, Config, strict=False)


def _from_file(file: Path | None) -> Settings:
    if file is None:
        return {}
    try:
        settings: Settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    return settings


def _from_environ(environ: Mapping[str, str]) -> Settings:
    settings: Settings = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == MARKER:
            continue
        section, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        known = SECTIONS.get(section)
        if known is None or name not in known.__struct_fields__:
            places, allowed = ("SECTION", SECTIONS) if known is None else ("NAME", known.__struct_fields__)
            raise ConfigError(
                f"{variable} is no setting: they are {PREFIX}SECTION_NAME, with {places} one of {', '.join(allowed)}"
            )
        if name in _FILE_ONLY:
            raise ConfigError(f"{variable}: {section}.{name} is a table, which only the file of --config can hold")
        settings.setdefault(section, {})[name] = _from_text(value, type(getattr(known(), name)))
    return settings


def _from_text(text: str, kind: type) -> Any:
    """The value of a variable: what is a list elsewhere has commas, and a table `name=value` between them."""
    if kind not in (list, dict):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if kind is list:
        return parts
    return {name.strip(): place.strip() for name, _, place in (part.partition("=") for part in parts)}


def _from_flags(flags: Mapping[str, Any]) -> Settings:
    settings: Settings = {}
    for key, value in flags.items():
        if value is not None:
            section, name = key.split(".")
            settings.setdefault(section, {})[name] = value
    return settings


def _check(settings: Settings, source: str) -> None:
    """Validate setting by setting, so that an error names its key."""
    for section, values in settings.items():
        known = SECTIONS.get(section)
        if known is None:
            raise ConfigError(f"[{section}] in {source} is no section; there are {', '.join(SECTIONS)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{section} in {source} is a section: write [{section}]")
        for name, value in values.items():
            if name not in known.__struct_fields__:
                allowed = ", ".join(known.__struct_fields__)
                raise ConfigError(f"{section}.{name} in {source} is no setting; [{section}] has {allowed}")
            try:
                msgspec.convert({name: value}, known, strict=source == "the file")
            except msgspec.ValidationError as error:
                said = str(error).split(" - at ")[0]
                shown = "" if _is_secret(known, name) else f", not {value!r}"
                raise ConfigError(f"{section}.{name} in {source}: {said}{shown}") from None


def _is_secret(known: type[msgspec.Struct], name: str) -> bool:
    (kind,) = (field.type for field in msgspec.structs.fields(known) if field.name == name)
    return SECRET in getattr(kind, "__metadata__", ())
