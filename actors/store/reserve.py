"""Room on the disk set aside while there is plenty, so that on a full one what must be kept still can be."""

import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes that stands for room; nothing is ever read from it."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._size = size

    def make(self) -> None:
        """Set the room aside, if it is not yet. Raises OSError when there is none; then none is taken."""
        if self._path.exists():
            return
        try:
            with self._part.open("wb") as file:
                file.write(os.urandom(self._size))  # zeros take no room where a file system compresses
                file.flush()
                os.fsync(file.fileno())
            self._part.replace(self._path)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise

    def spend(self) -> None:
        """Give the room back to the disk. Raises OSError, as on a disk that is read-only."""
        self._path.unlink(missing_ok=True)
