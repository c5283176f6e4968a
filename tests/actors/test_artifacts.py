"""The artifact store on a real disk: what it refuses, what it promises, and that it leaves nothing lying about."""

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path
from random import Random

import pytest
import trio
from PIL import Image

from actors.artifacts import ArtifactStore
from protocol.errors import ImageFailed, NotFound
from tests.helpers.fakes import png


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(png())
    return path


def files(store: ArtifactStore, tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())


def noise() -> bytes:
    """A PNG with many bytes of pixels."""
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its pixels do not fill."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png()
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


async def test_a_whole_png_is_taken_under_its_sha256(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    stored = await store.adopt_png(source, width=64, height=32)
    assert (stored.width, stored.height, stored.mime, stored.bytes) == (64, 32, "image/png", len(png()))
    assert stored.sha256 == hashlib.sha256(png()).hexdigest()
    assert store.path(stored.sha256).read_bytes() == png()
    assert files(store, tmp_path) == [store.path(stored.sha256)]


async def test_any_size_will_do_if_none_was_asked_for(store: ArtifactStore, source: Path) -> None:
    assert (await store.adopt_png(source, width=None, height=None)).width == 64
    assert (await store.adopt_png(source, width=None, height=32)).height == 32


@pytest.mark.parametrize(
    ("width", "height", "asked"), [(64, 64, "64x64"), (32, 64, "32x64"), (None, 16, "64x16"), (16, None, "16x32")]
)
async def test_another_size_is_refused(
    store: ArtifactStore, source: Path, tmp_path: Path, width: int | None, height: int | None, asked: str
) -> None:
    with pytest.raises(ImageFailed, match=f"64x32 pixels, not {asked} as asked"):
        await store.adopt_png(source, width=width, height=height)
    assert files(store, tmp_path) == []


def test_however_little_is_missing_it_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    data = noise()
    for length in {*range(0, len(data), 97), *range(len(data) - 40, len(data))}:
        with pytest.raises(ImageFailed, match="damaged"):
            store.store_png(data[:length])
    assert files(store, tmp_path) == []


def test_damage_is_never_anything_but_image_failed(store: ArtifactStore) -> None:
    random = Random(1)
    data = noise()
    for _ in range(300):
        damaged = bytearray(data)
        damaged[random.randrange(60)] = random.randrange(256)
        damaged[random.randrange(len(data))] = random.randrange(256)
        try:
            store.store_png(bytes(damaged), width=40, height=30)
        except ImageFailed:
            continue


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"Stopping image generation at step 3/10", b"GIF89a"])
def test_what_is_no_png_is_refused(store: ArtifactStore, data: bytes) -> None:
    with pytest.raises(ImageFailed, match="damaged"):
        store.store_png(data)


def test_another_format_is_refused_whatever_its_name(store: ArtifactStore) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32)).save(buffer, "JPEG")
    with pytest.raises(ImageFailed, match="damaged"):
        store.store_png(buffer.getvalue())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(65, 32), (12_000, 12_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_promises_too_much_is_refused(store: ArtifactStore, size: tuple[int, int]) -> None:
    with pytest.raises(ImageFailed):
        store.store_png(claiming(*size))


async def test_a_missing_file_is_no_picture(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ImageFailed, match="without leaving a picture"):
        await store.adopt_png(tmp_path / "nothing.png", width=None, height=None)


async def test_a_pipe_or_a_directory_is_no_picture(store: ArtifactStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ImageFailed, match="without leaving a picture"):
            await store.adopt_png(tmp_path / name, width=None, height=None)


async def test_the_same_content_twice_is_one_file(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    first = await store.adopt_png(source, width=64, height=32)
    inode = store.path(first.sha256).stat().st_ino
    assert await store.adopt_png(source, width=64, height=32) == first
    assert store.path(first.sha256).stat().st_ino == inode
    assert len(files(store, tmp_path)) == 1


async def test_the_source_may_go_afterwards(store: ArtifactStore, source: Path) -> None:
    stored = await store.adopt_png(source, width=64, height=32)
    await trio.Path(source).unlink()
    assert store.path(stored.sha256).read_bytes() == png()


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_fails_leaves_nothing(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        match step:
            case "write":
                patched.setattr(Path, "open", full)
            case "fsync":
                patched.setattr(os, "fsync", full)
            case _:
                patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            store.store_png(png())
    assert files(store, tmp_path) == []
    assert store.path(store.store_png(png()).sha256).read_bytes() == png(), "and it works when there is room again"


def test_a_file_and_its_name_are_on_the_disk_when_it_is_announced(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    path = store.path(store.store_png(png()).sha256)
    assert synced[0] == path.stat().st_ino, "the content before its name"
    assert {path.parent.stat().st_ino, path.parent.parent.stat().st_ino} <= set(synced)


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ArtifactStore(tmp_path / "file" / "artifacts").store_png(png())


@pytest.mark.parametrize("name", ["", "x", "ab" * 32, "AB" * 32, "../../../etc/passwd", "../" * 20 + "etc", "é" * 64])
def test_what_is_not_in_the_store_is_not_found(store: ArtifactStore, name: str) -> None:
    store.store_png(png())
    with pytest.raises(NotFound):
        store.path(name)
