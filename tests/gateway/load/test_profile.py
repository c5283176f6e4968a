"""Profiles: what is built in can be, what cannot be is named, everything is bounded."""

from pathlib import Path

import pytest

from gateway.load.profile import Profile, ProfileError, built_in_profiles, load_profile, parse_profile


def test_the_built_in_ones_are_there_and_say_what_they_are_for() -> None:
    known = built_in_profiles()
    assert set(known) >= {"smoke", "steady", "storm", "bar"}
    assert all(profile.about for profile in known.values())


def test_the_bar_is_what_it_is_called() -> None:
    bar = load_profile("bar")
    assert (bar.connections, bar.places, bar.duration_s) == (200, 2000, 60.0)
    assert (bar.cancels, bar.reconnects, bar.slow_readers) == (0.2, 0.05, 0.02)
    assert 4 / bar.engines.tokens_per_s * 2.5 == pytest.approx(
        1.0
    )  # pieces of four tokens, each two messages: 5 a second
    assert 1 / bar.engines.step_s == pytest.approx(5.0)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("connections = 3\ncancel_after_s = [1, 2.5]\n[engines]\nsteps = 4\n")
    profile = load_profile(str(file))
    assert (profile.connections, profile.cancel_after_s, profile.engines.steps) == (3, (1.0, 2.5), 4)
    assert profile.duration_s == Profile().duration_s


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conections = 3", "conections"),
        ("connections = 0", "connections"),
        ("connections = 10_001", "connections"),
        ("sessions = 1_000_001", "sessions"),
        ("duration_s = 0", "duration_s"),
        ("duration_s = 1e9", "duration_s"),
        ("duration_s = inf", "duration_s"),
        ("duration_s = nan", "duration_s"),
        ("cancels = 1.5", "cancels"),
        ("cancel_after_s = [2, 1]", "cancel_after_s: 2.0 is more than 1.0"),
        ("cancel_after_s = 3", "cancel_after_s"),
        ('arrival = "trickle"', "arrival"),
        ("[engines]\ntokens = 7", "engines.tokens"),
        ("[engines]\nspeed = 7", "speed"),
        ("connections = ", "is not TOML"),
    ],
)
def test_what_cannot_be_is_named(text: str, said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml")
    assert said in str(caught.value)


def test_an_unknown_name_tells_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"no profile 'bear': bar, .*smoke.*, or a TOML file"):
        load_profile("bear")
    with pytest.raises(ProfileError, match=r"missing\.toml cannot be read: No such file"):
        load_profile(str(tmp_path / "missing.toml"))
