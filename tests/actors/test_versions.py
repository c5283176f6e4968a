import importlib.metadata
import sys
from pathlib import Path

from actors.versions import installed_version, own_version, version_beside


def test_the_version_is_that_of_the_commands_own_environment(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.12" / "site-packages" / "mflux-0.24.9.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: mflux\nVersion: 0.24.9\n")
    command = tmp_path / "bin" / "mflux-generate"
    command.parent.mkdir()
    command.touch()
    link = tmp_path / "linked"
    link.symlink_to(command)
    assert version_beside(str(link), "mflux") == "0.24.9", "as uv tool links it"
    assert version_beside(str(link), "other") is None
    beside = Path(importlib.metadata.distribution("mflux").locate_file("../../../bin/mflux-generate"))  # type: ignore[arg-type]
    assert version_beside(str(beside), "mflux") == installed_version("mflux") == importlib.metadata.version("mflux")
    assert "mflux" not in sys.modules


def test_what_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-package") is None
    assert own_version() == importlib.metadata.version("hatchery")
