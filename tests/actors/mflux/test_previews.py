"""Live previews: the newest whole picture, small, within its bytes; never an error, never a thread left behind."""

import io
import os
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from actors.mflux.oneshot import child_environment
from actors.mflux.previews import MAX_FILE, MAX_PIXELS, Mime, PreviewLimits, open_previews, take_preview
from actors.mflux.watch import BarWatch
from actors.pty import PtySpec, open_pty
from protocol.mail import PreviewTaken, RenderMail, StepFinished
from tests.helpers.fakes import png

LIMITS = PreviewLimits()
COLOURS = ["#000000", "#ff0000", "#00ff00", "#0000ff", "#ffffff"]
WHOLE_S = 30


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), os.urandom(3 * width * height))


def leave(directory: Path, step: int, picture: Image.Image | bytes | None = None, *, of: int = 4, **how: Any) -> Path:
    """What the command leaves after a step: a picture of one colour, unless another one is given."""
    path = directory / f"seed_7_step{step}of{of}.png"
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        (picture or Image.new("RGB", (64, 48), COLOURS[step % 5])).save(path, **how)
    return path


def opened(preview: PreviewTaken) -> Image.Image:
    """The picture as a client decodes it; the mail tells the truth about it."""
    image = Image.open(io.BytesIO(preview.data))
    assert image.get_format_mimetype() == preview.mime
    assert image.size == (preview.width, preview.height)
    image.load()
    return image


def is_near(image: Image.Image, colour: str) -> bool:
    pixel = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    wanted = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return all(abs(is_ - should) < 12 for is_, should in zip(pixel, wanted, strict=True))


async def test_the_newest_announced_picture_is_taken(tmp_path: Path) -> None:
    for step in range(4):
        leave(tmp_path, step)
    leave(tmp_path, 4, png()[:50])  # still being written
    (tmp_path / "seed_7_composite.png").write_bytes(png())
    preview = await take_preview(tmp_path, 3, 4, limits=LIMITS)
    assert preview is not None
    assert preview.step == 3
    assert (preview.width, preview.height) == (64, 48), "never made larger"
    assert is_near(opened(preview), COLOURS[3])


async def test_an_older_one_stands_in_for_a_missing_one(tmp_path: Path) -> None:
    leave(tmp_path, 2)
    preview = await take_preview(tmp_path, 3, 4, limits=LIMITS)
    assert preview is not None
    assert preview.step == 2
    assert await take_preview(tmp_path, 3, 4, limits=LIMITS, after=2) is None, "once is enough"


async def test_a_start_picture_shifts_the_names(tmp_path: Path) -> None:
    for step in range(5, 9):
        leave(tmp_path, step, of=10)
    preview = await take_preview(tmp_path, 2, 5, limits=LIMITS)
    assert preview is not None
    assert preview.step == 2
    assert is_near(opened(preview), COLOURS[7 % 5])


@pytest.mark.parametrize("mime", ["image/webp", "image/jpeg"])
@pytest.mark.parametrize(
    ("size", "shown"), [((1024, 512), (256, 128)), ((512, 768), (171, 256)), ((2000, 2), (256, 1))]
)
async def test_sides_and_bytes_are_bounded(
    tmp_path: Path, mime: Mime, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    leave(tmp_path, 1, noise(*size))
    preview = await take_preview(tmp_path, 1, 4, limits=PreviewLimits(mime=mime))
    assert preview is not None
    assert opened(preview).size == shown
    assert len(preview.data) <= 24 * 1024


@pytest.mark.parametrize("mime", ["image/webp", "image/jpeg"])
async def test_quality_goes_first_and_then_size(tmp_path: Path, mime: Mime) -> None:
    leave(tmp_path, 1, noise(256, 256))
    taken = []
    for budget in (200_000, 35_000, 4_000):
        preview = await take_preview(tmp_path, 1, 4, limits=PreviewLimits(mime=mime, bytes=budget))
        assert preview is not None
        assert opened(preview).size == (preview.width, preview.height)
        assert len(preview.data) <= budget
        taken.append((preview.width, len(preview.data)))
    assert taken[0][0] == taken[1][0] == 256 > taken[2][0]
    assert taken[0][1] > 35_000
    assert await take_preview(tmp_path, 1, 4, limits=PreviewLimits(mime=mime, bytes=20)) is None


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "I;16"])
async def test_every_kind_of_png_is_shown(tmp_path: Path, mode: str) -> None:
    leave(tmp_path, 1, Image.new("RGB", (32, 32), "white").convert("L").convert(mode))
    preview = await take_preview(tmp_path, 1, 4, limits=LIMITS)
    assert preview is not None
    assert opened(preview).size == (32, 32)


@pytest.mark.parametrize("mime", ["image/webp", "image/jpeg"])
async def test_no_metadata_leaves_with_a_preview(tmp_path: Path, mime: Mime) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret prompt"
    info = PngInfo()
    info.add_text("comment", "a secret prompt")
    info.add_itxt("XML:com.adobe.xmp", "a secret prompt")
    leave(tmp_path, 1, pnginfo=info, exif=exif, icc_profile=b"a secret prompt" * 20)
    preview = await take_preview(tmp_path, 1, 4, limits=PreviewLimits(mime=mime))
    assert preview is not None
    assert b"secret" not in preview.data
    assert not opened(preview).getexif()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def declared(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and then inflates to less."""
    header = chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    whole = png()
    return whole[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26))) + whole[33:]


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x89PNG",
        b"GIF89a" + bytes(99),
        png()[:-40],
        png()[:60],
        png().replace(b"IHDR", b"JHDR"),
        declared(4097, MAX_PIXELS // 4096),
        declared(20_000, 20_000),
        declared(2**31 - 1, 2**31 - 1),
        declared(0, 0),
        declared(900, 900),
        text_bomb(),
    ],
    ids=["empty", "start", "gif", "cut", "half", "headless", "large", "larger", "largest", "none", "short", "bomb"],
)
async def test_a_hostile_picture_is_no_preview_and_no_error(tmp_path: Path, hostile: bytes) -> None:
    leave(tmp_path, 1, hostile)
    with trio.fail_after(WHOLE_S):
        assert await take_preview(tmp_path, 1, 4, limits=LIMITS) is None


async def test_more_pixels_than_a_picture_may_have_are_not_decoded(tmp_path: Path) -> None:
    leave(tmp_path, 1, Image.new("1", (4096, MAX_PIXELS // 4096)))
    assert await take_preview(tmp_path, 1, 4, limits=LIMITS) is not None
    leave(tmp_path, 2, Image.new("1", (4096, MAX_PIXELS // 4096 + 1)))
    assert await take_preview(tmp_path, 2, 4, limits=LIMITS) is None


def link(path: Path) -> None:
    path.with_name("target.png").write_bytes(png())
    path.symlink_to("target.png")


def sparse(path: Path) -> None:
    path.write_bytes(png())
    os.truncate(path, MAX_FILE + 1)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, link, sparse])
async def test_only_plain_files_of_bounded_size_are_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "seed_7_step1of4.png")
    leave(tmp_path, 2)
    await take_preview(tmp_path, 2, 4, limits=LIMITS)  # starts the thread
    before = len(os.listdir("/dev/fd"))
    with trio.fail_after(WHOLE_S):
        assert await take_preview(tmp_path, 1, 4, limits=LIMITS) is None
    assert len(os.listdir("/dev/fd")) == before


async def test_other_names_and_no_directory(tmp_path: Path) -> None:
    for name in ("seed_7_step1of4.png.tmp", "seed_x_step1of4.png", "seed_7_step1of4_1.png", "seed_7_step٣of4.png"):
        (tmp_path / name).write_bytes(png())
    assert await take_preview(tmp_path, 4, 4, limits=LIMITS) is None
    assert await take_preview(tmp_path / "missing", 4, 4, limits=LIMITS) is None


async def test_cancelling_ends_the_thread_at_its_next_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path, 1, noise(256, 256))
    encodings: list[int] = []
    scope = trio.CancelScope()
    encode = Image.Image.save

    def cancelled_meanwhile(image: Image.Image, *args: Any, **how: Any) -> None:
        encodings.append(how["quality"])
        trio.from_thread.run_sync(scope.cancel)
        encode(image, *args, **how)

    monkeypatch.setattr(Image.Image, "save", cancelled_meanwhile)
    with scope:
        await take_preview(tmp_path, 1, 4, limits=PreviewLimits(bytes=2048))
    assert scope.cancelled_caught
    assert len(encodings) == 1, "seven or more, had it gone on"
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


class Listener:
    """Keeps what is told; while `gate` is shut, telling takes its time."""

    def __init__(self) -> None:
        self.told: list[PreviewTaken] = []
        self.gate = trio.Event()
        self.gate.set()
        self._news = trio.lowlevel.ParkingLot()

    async def tell(self, letter: RenderMail) -> None:
        assert isinstance(letter, PreviewTaken)
        self.told.append(letter)
        self._news.unpark_all()
        await self.gate.wait()

    @property
    def steps(self) -> list[int]:
        return [letter.step for letter in self.told]

    async def until(self, step: int) -> None:
        with trio.fail_after(WHOLE_S):
            while step not in self.steps:
                await self._news.park()


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def test_only_the_newest_is_shown_when_there_is_time_for_one(tmp_path: Path, listener: Listener) -> None:
    listener.gate = trio.Event()
    for step in range(5):
        leave(tmp_path, step)
    async with open_previews(tmp_path, listener.tell, limits=LIMITS, limiter=trio.CapacityLimiter(1)) as previews:
        previews.announce(0, 4)
        await listener.until(0)
        for step in (1, 2, 3):
            previews.announce(step, 4)
        listener.gate.set()
        await listener.until(3)
        previews.announce(3, 4)  # said twice, as tqdm does
        previews.announce(4, 4)
        await listener.until(4)
    assert listener.steps == [0, 3, 4]


async def test_jobs_take_turns_and_what_passed_meanwhile_is_skipped(tmp_path: Path, listener: Listener) -> None:
    limiter = trio.CapacityLimiter(1)
    async with open_previews(tmp_path, listener.tell, limits=LIMITS, limiter=limiter) as previews:
        async with limiter:  # another job's turn
            for step in range(4):
                leave(tmp_path, step)
                previews.announce(step, 4)
                await trio.testing.wait_all_tasks_blocked()
            assert limiter.statistics().tasks_waiting == 1
        await listener.until(3)
    assert listener.steps == [3]
    assert limiter.borrowed_tokens == 0


async def test_a_bad_picture_does_not_end_the_showing(tmp_path: Path, listener: Listener) -> None:
    leave(tmp_path, 1, png()[:50])
    async with open_previews(tmp_path, listener.tell, limits=LIMITS, limiter=trio.CapacityLimiter(1)) as previews:
        previews.announce(1, 4)
        await trio.testing.wait_all_tasks_blocked()
        leave(tmp_path, 2)
        previews.announce(2, 4)
        await listener.until(2)


async def test_nothing_is_told_after_the_end_and_errors_pass_as_they_are(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, 1)
    at_work, go_on = trio.Event(), threading.Event()
    encode = Image.Image.save

    def held(image: Image.Image, *args: Any, **how: Any) -> None:
        trio.from_thread.run_sync(at_work.set)
        assert go_on.wait(WHOLE_S)
        encode(image, *args, **how)

    monkeypatch.setattr(Image.Image, "save", held)
    limiter = trio.CapacityLimiter(1)

    async def draw() -> None:
        async with open_previews(tmp_path, listener.tell, limits=LIMITS, limiter=limiter) as previews:
            previews.announce(1, 4)
            await at_work.wait()
            go_on.set()
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        await draw()
    assert listener.told == []
    assert limiter.borrowed_tokens == trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_the_demo_renderer_is_shown_while_it_draws(tmp_path: Path, listener: Listener) -> None:
    steps = tmp_path / "steps"
    flags = ["--prompt", "a fox", "--steps", "8", "--seed", "7", "--width", "480", "--height", "384"]
    argv = (sys.executable, "-m", "actors.mflux.demo_renderer", *flags, "--stepwise-image-output-dir", str(steps))
    spec = PtySpec(argv=argv, cwd=str(tmp_path), env=child_environment(os.environ))
    watch = BarWatch(0.0)
    async with open_previews(steps, listener.tell, limits=LIMITS, limiter=trio.CapacityLimiter(1)) as previews:
        async with open_pty(spec) as child:
            while data := await child.receive():
                for letter in watch.feed(data, trio.current_time()):
                    if isinstance(letter, StepFinished):
                        previews.announce(letter.step, letter.steps)
        await listener.until(8)
    assert listener.steps == sorted(set(listener.steps))
    assert len(listener.steps) > 1, "shown while it was drawn"
    assert {(letter.width, letter.height) for letter in listener.told} == {(256, 205)}
    with Image.open(steps / "seed_7_step8of8.png") as last:
        wanted = last.resize((16, 16)).convert("L").tobytes()
    shown = opened(listener.told[-1]).resize((16, 16)).convert("L").tobytes()
    assert max(abs(a - b) for a, b in zip(shown, wanted, strict=True)) < 24
