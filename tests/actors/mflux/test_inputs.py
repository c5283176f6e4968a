from pathlib import Path

import pytest

from actors.mflux.engine import InputPicture, RenderJob
from actors.mflux.inputs import fitted, lay_input, shaped
from protocol.commands import ImageOptions
from tests.helpers.fakes import PERSONA


@pytest.mark.parametrize(
    ("size", "multiple", "drawn"),
    [
        ((1024, 1024), 16, (1024, 1024)),
        ((640, 480), 16, (640, 480)),
        ((100, 70), 32, (96, 64)),
        ((4000, 3000), 16, (1168, 880)),
        ((1, 9000), 16, (16, 2048)),
        ((3, 5), 16, (16, 16)),
    ],
)
def test_a_picture_is_drawn_in_the_shape_of_its_input(
    size: tuple[int, int], multiple: int, drawn: tuple[int, int]
) -> None:
    assert fitted(InputPicture(Path("a"), *size), multiple) == drawn


def job(picture: InputPicture | None, image: ImageOptions) -> RenderJob:
    return RenderJob(session="s1", persona=PERSONA, image=image, seed=1, input=picture)


def test_a_size_that_was_asked_for_stays() -> None:
    picture = InputPicture(Path("a"), 64, 32)
    assert shaped(job(picture, ImageOptions(steps=3)), 16).image == ImageOptions(steps=3, width=64, height=32)
    for unchanged in (job(picture, ImageOptions(width=512)), job(None, ImageOptions())):
        assert shaped(unchanged, 16) == unchanged


async def test_a_job_gets_a_copy_under_a_name_that_says_nothing(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"picture")
    folder = tmp_path / "job"
    folder.mkdir()
    assert await lay_input(job(None, ImageOptions()), folder) is None
    laid = await lay_input(job(InputPicture(upload, 1, 1), ImageOptions()), folder)
    assert laid == folder / "input.png"
    laid.write_bytes(b"overwritten by the command")
    assert upload.read_bytes() == b"picture"
