"""PNG by its chunks: what shows the picture stays to the bit, and what its maker wrote beside it goes."""

import io
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from actors.png import MAX_CHUNKS, bare_png, chunks
from protocol.errors import TooLarge
from tests.helpers.fakes import png

END = png()[-12:]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def kinds(picture: bytes) -> Iterator[bytes]:
    """Of all that is there, with nothing checked."""
    start = 8
    while start < len(picture):
        yield picture[start + 4 : start + 8]
        start += 12 + int.from_bytes(picture[start : start + 4], "big")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "I;16"])
def test_pixels_stay_as_they_are(mode: str) -> None:
    buffer = io.BytesIO()
    source = Image.radial_gradient("L").convert(mode)
    source.save(buffer, "PNG", dpi=(72, 72), icc_profile=b"colours")
    written = bare_png(buffer.getvalue(), (b"keyword", b"text"))
    before, after = Image.open(buffer), Image.open(io.BytesIO(written))
    assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())
    assert after.getpalette() == before.getpalette()
    assert (after.info["dpi"], after.info["icc_profile"]) == (before.info["dpi"], before.info["icc_profile"])


def test_what_the_maker_of_the_picture_wrote_into_it_is_left_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret prompt"
    info = PngInfo()
    info.add_text("prompt", "a secret prompt")
    info.add_text("zipped", "a secret prompt " * 99, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "a secret prompt")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info, exif=exif)
    picture = buffer.getvalue()[:-12] + chunk(b"tIME", bytes(7)) + END
    assert {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"} < set(kinds(picture))
    written = bare_png(picture + b"a secret prompt")
    assert list(kinds(written)) == [b"IHDR", b"IDAT", b"IEND"]
    assert b"a secret prompt" not in written


def test_a_bare_picture_is_left_as_it_is() -> None:
    assert bare_png(png()) == png()


def test_there_are_not_without_end_chunks() -> None:
    picture = png()[:-12] + chunk(b"tEXt") * MAX_CHUNKS + END
    with pytest.raises(TooLarge, match="chunks"):
        list(chunks(picture))
