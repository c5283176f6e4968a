"""Finished files, named by their SHA-256: checked, made durable, then renamed into place, so a name is a promise."""

import hashlib
import io
import os
from pathlib import Path
from typing import Final

import msgspec
import trio
from PIL import Image, UnidentifiedImageError

from actors.png import bare_png
from protocol.errors import BadMessage, ImageFailed, NotFound, TooLarge

_HEX: Final = frozenset("0123456789abcdef")


class StoredPicture(msgspec.Struct, frozen=True):
    """A picture in the store; sides in pixels."""

    sha256: str
    bytes: int
    mime: str
    width: int
    height: int


class ArtifactStore:
    """Content-addressed files below one directory; blocking work runs in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, sha256: str) -> Path:
        """Where a file lies. Raises NotFound for what is not in the store."""
        if len(sha256) != 64 or not _HEX.issuperset(sha256):
            raise NotFound("no such file")
        path = self._directory / sha256[:2] / sha256
        if not path.is_file():
            raise NotFound("no such file")
        return path

    async def adopt_png(self, source: Path, *, width: int | None, height: int | None) -> StoredPicture:
        """Check that `source` is a whole PNG of that size (None: any) and take the bare picture into the store.

        Raises ImageFailed, saying what is wrong with the file, and OSError when the disk fails.
        """
        return await trio.to_thread.run_sync(self._adopt_png, source, width, height)

    def _adopt_png(self, source: Path, width: int | None, height: int | None) -> StoredPicture:
        if not source.is_file():  # nothing, or a pipe that would never end
            raise ImageFailed("the image command ended without leaving a picture")
        return self.store_png(source.read_bytes(), width=width, height=height)

    def store_png(self, data: bytes, *, width: int | None = None, height: int | None = None) -> StoredPicture:
        """The same for a picture in memory; blocks while it is written."""
        size = _checked_size(data, width, height)
        data = _bare(data)
        sha256 = hashlib.sha256(data).hexdigest()
        target = self._directory / sha256[:2] / sha256
        try:
            os.utime(target)  # what is adopted anew is young: nobody may sweep it away before it is announced
        except (FileNotFoundError, NotADirectoryError):
            self._write(data, target)
        return StoredPicture(sha256, len(data), "image/png", *size)

    def _write(self, data: bytes, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        for directory in (target.parent, self._directory):  # the second one names the first
            _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _checked_size(data: bytes, width: int | None, height: int | None) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()  # decodes every row: a file cut short fails here
            size = picture.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise ImageFailed(f"the image command left a damaged picture: {error}") from error
    asked = (width or size[0], height or size[1])
    if size != asked:
        raise ImageFailed(f"the picture is {size[0]}x{size[1]} pixels, not {asked[0]}x{asked[1]} as asked")
    return size


def _bare(data: bytes) -> bytes:
    """Whoever gets the file need not learn what its maker wrote beside the picture, as paths of this machine.

    Pillow does not mind a missing end or a wrong checksum before it; this does.
    """
    try:
        return bare_png(data)
    except (BadMessage, TooLarge) as error:
        raise ImageFailed(f"the image command left a damaged picture: {error.message}") from error
