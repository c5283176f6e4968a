"""The demo renderer as its parent meets it: flags, files, bars on a real terminal, signals, different pictures."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from ptyprocess import PtyProcess

from actors.mflux import demo_renderer
from actors.mflux.demo.look import read_look
from actors.mflux.demo.painter import Painter
from actors.mflux.demo.portrait import KINDS
from actors.mflux.demo.scenery import SCENES
from actors.mflux.demo.things import THINGS
from actors.mflux.demo.vocabulary import FOLK as FOLK_WORDS
from actors.mflux.demo.vocabulary import KINDS as KIND_WORDS
from actors.mflux.demo.vocabulary import MOODS, SCENERIES
from actors.mflux.demo.vocabulary import THINGS as THING_WORDS
from protocol.persona import Persona

ROOT = Path(demo_renderer.__file__).parents[2]
COMMAND = [sys.executable, "-m", "actors.mflux.demo_renderer"]
SMALL = ["--width", "64", "--height", "64", "--steps", "2", "--seed", "7"]
PERSONA = Persona(
    name="Ember",
    species="fox",
    tagline="Reads by starlight.",
    traits=["shy", "patient", "kind"],
    backstory="Born in a bookshop.",
    greeting="Oh! Hello.",
    system_prompt="You are Ember.",
    palette=["#e07a3f", "#2b2d42", "#6ab7a8"],
    avatar_prompt="A fox with a scarf.",
)


def render(folder: Path, *flags: str) -> Image.Image:
    """Run the program in this process and return the picture it wrote."""
    output = folder / f"{len(list(folder.iterdir()))}.png"
    assert demo_renderer.main([*SMALL, "--output", str(output), *flags]) == 0
    with Image.open(output) as image:
        image.load()
        return image.copy()


def persona_file(folder: Path, persona: Persona) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_bytes(msgspec.json.encode(persona))
    return str(path)


@contextmanager
def on_terminal(*flags: str) -> Iterator[PtyProcess]:
    """The program as a child that leads a session on a terminal of 80 columns."""
    environment = {**os.environ, "TQDM_MININTERVAL": "0", "PYTHONPATH": str(ROOT)}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*multi-threaded", category=DeprecationWarning
        )  # another test's threads
        child = PtyProcess.spawn([*COMMAND, *flags], env=environment, dimensions=(24, 80))
    try:
        yield child
    finally:
        child.close(force=True)


def read_until(child: PtyProcess, pattern: bytes, seen: bytes = b"") -> bytes:
    """Everything printed up to the first match; fails at the end of output."""
    while not re.search(pattern, seen):
        try:
            seen += child.read(65536)
        except EOFError:
            pytest.fail(f"{pattern!r} never came: {seen!r}")
    return seen


def read_all(child: PtyProcess, seen: bytes = b"") -> bytes:
    while True:
        try:
            seen += child.read(65536)
        except EOFError:
            return seen


# Files


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (48, 128), (16, 16)])
def test_the_picture_decodes_and_has_the_size_asked_for(tmp_path: Path, width: int, height: int) -> None:
    image = render(tmp_path, "--prompt", "a fox", "--width", str(width), "--height", str(height))
    assert (image.format or "PNG", image.mode, image.size) == ("PNG", "RGB", (width, height))
    assert len(set(image.resize((8, 8)).tobytes())) > 16


def test_an_existing_output_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "x.png"
    output.write_bytes(b"mine")
    (tmp_path / "x_1.png").write_bytes(b"mine too")
    assert demo_renderer.main([*SMALL, "--prompt", "an owl", "--output", str(output)]) == 0
    assert output.read_bytes() == b"mine"
    with Image.open(tmp_path / "x_2.png") as image:
        assert image.size == (64, 64)
    assert str(tmp_path / "x_2.png") in capsys.readouterr().out


def test_metadata_can_be_left_out(tmp_path: Path) -> None:
    assert render(tmp_path, "--prompt", "a cat").info["Seed"] == "7"
    assert "Seed" not in render(tmp_path, "--prompt", "a cat", "--no-exif").info


def test_mflux_flags_without_a_meaning_here_are_accepted(tmp_path: Path) -> None:
    plain = render(tmp_path, "--prompt", "a cat")
    flags = ("--model", "schnell", "--guidance", "3.5", "--negative-prompt", "blurry")
    assert render(tmp_path, "--prompt", "a cat", *flags).tobytes() == plain.tobytes()


def test_the_picture_comes_out_of_noise(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    flags = ("--steps", "4", "--width", "128", "--height", "128", "--stepwise-image-output-dir", str(steps))
    final = render(tmp_path, "--prompt", "a bear", *flags)
    names = [f"seed_7_step{i}of4.png" for i in range(5)]
    assert sorted(p.name for p in steps.iterdir()) == names
    distances = [_distance(Image.open(steps / name), final) for name in names]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 4 * distances[-1]


def _distance(first: Image.Image, second: Image.Image) -> float:
    pairs = zip(first.tobytes(), second.tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pairs) / (first.width * first.height * 3)


# What the picture depends on


def test_equal_flags_give_equal_pixels_in_another_process(tmp_path: Path) -> None:
    flags = ["--persona-file", persona_file(tmp_path, PERSONA), "--prompt", "a portrait"]
    output = tmp_path / "child.png"
    subprocess.run([*COMMAND, *SMALL, *flags, "--output", output], cwd=ROOT, check=True, capture_output=True)
    with Image.open(output) as image:
        assert image.tobytes() == render(tmp_path, *flags).tobytes()


def test_species_palette_traits_prompt_and_seed_each_change_the_picture(tmp_path: Path) -> None:
    changed = msgspec.structs.replace
    personas = [
        PERSONA,
        changed(PERSONA, species="octopus"),
        changed(PERSONA, palette=["#3a86c8", "#0b2545", "#f4d35e"]),
        changed(PERSONA, traits=["grumpy", "loud", "odd"]),
    ]
    pictures = [render(tmp_path, "--persona-file", persona_file(tmp_path, p), "--prompt", "portrait") for p in personas]
    same = persona_file(tmp_path, PERSONA)
    pictures.append(render(tmp_path, "--persona-file", same, "--prompt", "portrait in a library"))
    pictures.append(render(tmp_path, "--persona-file", same, "--prompt", "portrait", "--seed", "8"))
    assert len({p.tobytes() for p in pictures}) == len(pictures)


def test_without_a_persona_the_prompt_names_being_colour_and_things() -> None:
    look = read_look(
        species="", words="A grumpy purple dragon wizard among mountains, wearing a scarf", palette=[], seed=1
    )
    assert (look.kind, look.mood, look.scenery) == ("dragon", "grumpy", "mountain")
    assert dict(look.things) == {"head": "hat", "neck": "scarf", "air": "stars"}
    assert look.colours.coat.b > look.colours.coat.g


def test_plurals_are_understood() -> None:
    look = read_look(species="", words="Foxes with glasses, leaves and books", palette=[], seed=1)
    assert look.kind == "fox"
    assert dict(look.things) == {"head": "leaf", "face": "glasses", "hands": "book"}


def test_the_species_outweighs_animals_named_elsewhere() -> None:
    assert read_look(species="barn owl", words="hunts a mouse, fears the cat", palette=[], seed=1).kind == "owl"
    assert read_look(species="Zorblax", words="eats fish", palette=[], seed=1).kind in KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_picture_of_its_own(kind: str) -> None:
    def drawn(name: str) -> bytes:
        look = read_look(species="x", words="brave night", palette=["#e07a3f", "#2b2d42", "#6ab7a8"], seed=1)
        painter = Painter(dataclasses.replace(look, kind=name), 64, 64, 1)
        painter.step()
        return painter.decode().tobytes()

    assert drawn(kind) == drawn(kind)
    assert kind == "beast" or drawn(kind) != drawn("beast")


def test_every_word_leads_to_something_that_can_be_drawn() -> None:
    assert {*KIND_WORDS, *FOLK_WORDS} == set(KINDS)
    assert set(SCENERIES) == set(SCENES)
    assert {thing for choice in THING_WORDS.values() for thing in choice} == set(THINGS)


@pytest.mark.parametrize("words", [*MOODS, *SCENERIES, *(t for choice in THING_WORDS.values() for t in choice)])
@pytest.mark.parametrize("species", ["fox", "robot"])
def test_every_mood_place_and_thing_can_be_drawn(species: str, words: str) -> None:
    painter = Painter(read_look(species=species, words=words, palette=[], seed=3), 48, 48, 1)
    painter.step()
    assert painter.decode().size == (48, 48)


@pytest.mark.parametrize(
    "palette", [["#000000"] * 3, ["#ffffff"] * 3, ["#808080"] * 5, ["#ff0000", "#00ff00", "#0000ff"]]
)
def test_any_palette_keeps_the_being_apart_from_its_sky(palette: list[str]) -> None:
    colours = read_look(species="cat", words="calm", palette=palette, seed=1).colours
    assert sum(colours.coat) - sum(colours.sky) > 120


# On a terminal


def test_bars_come_one_by_one_each_after_its_file(tmp_path: Path) -> None:
    steps, output = tmp_path / "steps", tmp_path / "x.png"
    flags = ["--prompt", "a fox", "--output", str(output), "--steps", "6", "--width", "384", "--height", "384"]
    with on_terminal(*flags, "--seed", "7", "--stepwise-image-output-dir", str(steps)) as child:
        seen, moments = b"", []
        for tick in range(7):
            seen = read_until(child, rb"\r[ \d]+%%\|[^|]*\| %d/6 \[" % tick, seen)
            moments.append(time.monotonic())
            with Image.open(steps / f"seed_7_step{tick}of6.png") as image:
                image.load()
        seen = read_all(child, seen)
        assert child.wait() == 0
    assert moments[6] - moments[0] > 0.1
    assert len(set(moments)) == 7
    assert b"Image saved" in seen
    with Image.open(output) as image:
        image.load()


def test_ctrl_c_in_the_loop_stops_without_a_picture_and_without_an_error(tmp_path: Path) -> None:
    output = tmp_path / "x.png"
    with on_terminal("--prompt", "a fox", "--output", str(output), "--steps", "900") as child:
        seen = read_until(child, rb" 2/900 ")
        child.write(b"\x03")
        seen = read_all(child, seen)
        assert child.wait() == 0
    assert re.search(rb"Stopping image generation at step \d+/900", seen)
    assert b"Traceback" not in seen
    assert not output.exists()


def test_sigterm_kills_at_once(tmp_path: Path) -> None:
    output = tmp_path / "x.png"
    with on_terminal("--prompt", "a fox", "--output", str(output), "--steps", "900") as child:
        read_until(child, rb" 1/900 ")
        child.kill(signal.SIGTERM)
        read_all(child)
        child.wait()
        assert child.signalstatus == signal.SIGTERM
    assert not output.exists()


# Wrong or hostile input


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--prompt", "a", "--prompt-file", "b"],
        ["--prompt", "  "],
        ["--prompt", "--verbose"],
        ["--prompt", "a", "--width", "100"],
        ["--prompt", "a", "--height", "0"],
        ["--prompt", "a", "--steps", "0"],
        ["--prompt", "a", "--steps", "many"],
        ["--prompt", "a", "--no-such-flag"],
        ["--prompt-file", "missing.txt"],
        ["--prompt", "a", "--persona-file", "missing.json"],
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        demo_renderer.main(flags)
    assert exit_.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"species": "fox"}',
        msgspec.json.encode({**msgspec.to_builtins(PERSONA), "palette": ["red", "blue", "green"]}),
        msgspec.json.encode({**msgspec.to_builtins(PERSONA), "species": "f" * 61}),
    ],
)
def test_a_file_that_holds_no_persona_exits_2_with_one_clear_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "persona.json"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        demo_renderer.main([*SMALL, "--prompt", "a", "--persona-file", str(path), "--output", str(tmp_path / "x.png")])
    assert exit_.value.code == 2
    assert f"{path} holds no persona: " in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "prompt",
    ["-", "--verbose", "🦊 🐉 狐狸", "a\x07\x1b[31mred\u2028owl", "‮", "dragon " * 1500, "%s {0} $(ls)", "\udcff owl"],
)
def test_any_prompt_gives_a_picture(tmp_path: Path, prompt: str) -> None:
    assert render(tmp_path, f"--prompt={prompt}").size == (64, 64)


@pytest.mark.parametrize("content", [b"a\x00 fox\x00", b"\xff\xfe\x00cat", b"--output /etc/x", "é".encode() * 10_000])
def test_any_prompt_file_gives_a_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    assert render(tmp_path, "--prompt-file", str(path)).size == (64, 64)


def test_the_program_starts_light() -> None:
    heavy = "{'numpy', 'trio', 'mlx', 'mflux', 'torch', 'asyncio'}"
    code = f"import sys, actors.mflux.demo_renderer; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_input_picture_shines_through_as_far_as_it_is_told_to(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    Image.new("RGB", (200, 100), (255, 0, 255)).save(source)
    folder = tmp_path / "drawn"
    folder.mkdir()
    alone = render(folder, "--prompt", "an owl")
    flags = ("--prompt", "an owl", f"--image-path={source}")
    through = [render(folder, *flags), render(folder, *flags, "--image-strength=1")]
    assert through[0].tobytes() == Image.blend(alone, Image.new("RGB", alone.size, (255, 0, 255)), 0.4).tobytes()
    assert through[1].getcolors() == [(64 * 64, (255, 0, 255))]


def test_an_input_that_is_no_picture_is_wrong_usage(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    for content in (b"", b"no picture"):
        source.write_bytes(content)
        with pytest.raises(SystemExit):
            demo_renderer.main(["--prompt", "an owl", "--image-path", str(source), *SMALL])
