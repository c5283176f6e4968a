"""Which version of a program is at work, read from what is installed, without running or importing it."""

from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path


def own_version() -> str:
    """Hatchery's own."""
    return version("hatchery")


def installed_version(package: str) -> str | None:
    """That of a package beside Hatchery, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def version_beside(command: str, package: str) -> str | None:
    """That of a package in the environment that a command belongs to, or None.

    A script lies in `bin` beside `lib/pythonX.Y/site-packages`; `uv tool` and `pipx` link to it from elsewhere.
    """
    libraries = [str(path) for path in Path(command).resolve().parent.parent.glob("lib/python3*/site-packages")]
    return next((found.version for found in Distribution.discover(name=package, path=libraries)), None)
