"""Variables that change what children print or may download."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from actors.mflux.oneshot import child_environment
from gateway.doctor.finding import Finding, notice, ok, problem

_PREFIX: Final = "TQDM_"
# The parameters of tqdm.__init__, which take their values from the environment since 4.66 (tqdm/std.py, tqdm/utils.py).
_NUMBERS: Final[dict[str, Callable[[str], float]]] = {
    **dict.fromkeys(("NCOLS", "NROWS", "POSITION", "INITIAL", "UNIT_DIVISOR"), int),
    **dict.fromkeys(("TOTAL", "MINITERS", "MININTERVAL", "MAXINTERVAL", "SMOOTHING", "DELAY"), float),
}
_HIDES: Final = frozenset({"DISABLE", "GUI"})  # any text is true, "0" as well
_CRASHES: Final = frozenset({"FILE", "WRITE_BYTES"})
_DISTORTS: Final = frozenset(
    {"ASCII", "BAR_FORMAT", "DESC", "TOTAL", "INITIAL", "UNIT_SCALE", "DELAY", "MINITERS", "NROWS", "POSITION"}
)
TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def check_variables(environ: Mapping[str, str]) -> list[Finding]:
    """The settings of tqdm, and whether there is a token for gated models."""
    return [*check_tqdm(environ), check_token(environ)]


def check_tqdm(environ: Mapping[str, str]) -> list[Finding]:
    """Those that crash a program with bars, or change its bars beyond reading.

    They are a problem where image commands inherit them; otherwise they only hurt the same command run by hand.
    """
    inherited = child_environment(environ)
    findings = []
    for name, value in sorted(environ.items()):
        effect = tqdm_effect(name, value)
        if effect is not None:
            reaches = inherited.get(name) == value
            found = f"{name}={value} {effect}" + ("" if reaches else "; Hatchery keeps it from its image commands")
            findings.append((problem if reaches else notice)("tqdm", found, f"unset {name}"))
    return findings or [ok("tqdm", "no variable spoils its bars")]


def tqdm_effect(name: str, value: str) -> str | None:
    """What a variable does to tqdm's bars that it should not, or None."""
    parameter = name.removeprefix(_PREFIX)
    if parameter == name or not value:
        return None
    if parameter in _CRASHES or (parameter == "ASCII" and len(value) == 1) or not _is_number(parameter, value):
        return "crashes mflux"
    if parameter in _HIDES:
        return "hides every bar"
    if parameter in _DISTORTS and not (parameter == "ASCII" and value.startswith(" ")):
        return "distorts the bars"
    return None


def _is_number(parameter: str, value: str) -> bool:
    try:
        _NUMBERS.get(parameter, str)(value)
    except ValueError:
        return False
    return True


def check_token(environ: Mapping[str, str]) -> Finding:
    """Whether there is a Hugging Face token; never which."""
    name = next((name for name in TOKENS if environ.get(name)), None)
    if name is not None:
        return ok("token", f"{name} is set (its value is not shown)")
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    if (Path(home) / "token").is_file():
        return ok("token", "a Hugging Face login is stored")
    return ok("token", "HF_TOKEN is not set; only gated models need it")
