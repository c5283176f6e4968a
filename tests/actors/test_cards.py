"""Pictures as cards: the same pixels, chunks that other programs read, and nothing taken on trust."""

import base64
import io
import json
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from actors import cards
from actors.cards import MAX_CARD_CHUNK, MAX_PNG, card_png, read_card
from protocol.card import Making, from_card, to_card, to_card_v2
from protocol.errors import BadMessage, HatcheryError, Invalid, TooLarge
from protocol.maker import Maker
from tests.helpers.fakes import ENGINES, PERSONA, png

MAKING = Making(
    prompt="a secret wish",
    seed=7,
    steps=4,
    engines=ENGINES,
    version="0.1.0",
    painter=Maker(engine="scripted", model="schnell/é", version="0.24.0"),
    created_at_ms=1_800_000_000_000,
)
PICTURE = png()
HEAD = PICTURE[:33]  # signature and IHDR
END = PICTURE[-12:]
LETTERS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)


def opened(picture: bytes) -> PngImageFile:
    """As Pillow reads it to the end: text chunks behind the pixels too."""
    image = Image.open(io.BytesIO(picture))
    assert isinstance(image, PngImageFile)
    image.load()
    return image


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def with_chunks(*chunks: bytes) -> bytes:
    """The picture with these before its end."""
    return PICTURE[:-12] + b"".join(chunks) + END


def text_chunk(keyword: bytes, card: bytes) -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + base64.b64encode(card))


@given(LETTERS, LETTERS, LETTERS)
def test_a_card_goes_in_and_comes_out(name: str, backstory: str, prompt: str) -> None:
    persona = msgspec.structs.replace(PERSONA, name=name, backstory=backstory)
    making = msgspec.structs.replace(MAKING, prompt=prompt)
    assert from_card(read_card(card_png(PICTURE, persona, making))) == (persona, making)


def test_other_programs_find_the_texts() -> None:
    text = opened(card_png(PICTURE, PERSONA, MAKING)).text
    assert list(text) == ["ccv3", "chara", "hatchery"]
    assert base64.b64decode(text["ccv3"]) == to_card(PERSONA, MAKING)
    assert base64.b64decode(text["chara"]) == to_card_v2(PERSONA, MAKING)
    assert json.loads(text["hatchery"]) == {
        "model": "schnell/é",
        "seed": 7,
        "steps": 4,
        "engine": "scripted",
        "version": "0.24.0",
    }


def test_what_nobody_knows_is_null() -> None:
    making = msgspec.structs.replace(MAKING, painter=None, steps=None, seed=None)
    assert json.loads(opened(card_png(PICTURE, PERSONA, making)).text["hatchery"]) == {
        "model": None,
        "seed": None,
        "steps": None,
        "engine": "scripted",
        "version": None,
    }


def test_a_card_is_replaced_not_added() -> None:
    once = card_png(PICTURE, PERSONA, MAKING)
    other = msgspec.structs.replace(PERSONA, name="Grace")
    assert card_png(card_png(PICTURE, other, MAKING), PERSONA, MAKING) == once
    assert from_card(read_card(once))[0] == PERSONA


def test_the_wish_stands_in_the_cards_only() -> None:
    assert "a secret wish" not in opened(card_png(PICTURE, PERSONA, MAKING)).text["hatchery"]


def test_the_newer_card_is_read_and_the_older_one_alone() -> None:
    newer, older = text_chunk(b"ccv3", b"3"), text_chunk(b"Chara", b"2")
    assert read_card(with_chunks(older, newer)) == b"3"
    assert read_card(with_chunks(older)) == b"2"
    assert read_card(with_chunks(newer) + b"behind the end") == b"3"


def test_a_picture_without_a_card() -> None:
    compressed = zlib.compress(base64.b64encode(b"3"))
    for picture in (
        PICTURE,
        with_chunks(chunk(b"tEXt", b"ccv3")),
        with_chunks(chunk(b"zTXt", b"ccv3\0\0" + compressed)),
        with_chunks(chunk(b"iTXt", b"ccv3\0\x01\0\0\0" + compressed)),
    ):
        with pytest.raises(Invalid, match="no character card"):
            read_card(picture)


def test_a_zip_bomb_is_never_inflated() -> None:
    deflate = zlib.compressobj(9)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(256)) + deflate.flush()
    picture = with_chunks(chunk(b"zTXt", b"ccv3\0\0" + bomb), text_chunk(b"ccv3", b"3"))
    assert read_card(picture) == b"3"
    assert len(card_png(picture, PERSONA, MAKING)) < 100_000


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a" + PICTURE,
        PICTURE[:-1],
        PICTURE[:-12],
        PICTURE[: len(PICTURE) // 2],
        HEAD + END,
        PICTURE[:8] + PICTURE[33:],
        HEAD + PICTURE[8:],
        with_chunks(b"\xff\xff\xff\xfftEXtccv3\0"),
        with_chunks(b"\x7f\xff\xff\xfftEXtccv3\0"),
        with_chunks(text_chunk(b"ccv3", b"3")[:-1] + b"\0"),
        PICTURE[:16] + b"\xff" + PICTURE[17:],
    ],
    ids=["nothing", "signature", "gif", "cut", "endless", "half", "no-pixels", "no-header", "two-headers",
         "huge-length", "largest-length", "crc", "header-crc"],
)  # fmt: skip
def test_damage_is_a_coded_error(damaged: bytes) -> None:
    with pytest.raises(BadMessage):
        read_card(damaged)
    with pytest.raises(BadMessage):
        card_png(damaged, PERSONA, MAKING)


@pytest.mark.parametrize("text", [b"***", b"YQ", b"\xff\xfe", b"YQ==YQ=="])
def test_a_damaged_card_is_a_coded_error(text: bytes) -> None:
    with pytest.raises(BadMessage, match="card is damaged"):
        read_card(with_chunks(chunk(b"tEXt", b"ccv3\0" + text)))


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="character card"):
        read_card(with_chunks(chunk(b"tEXt", b"ccv3\0" + b"A" * (MAX_CARD_CHUNK + 1))))
    assert MAX_PNG > 4096 * 4096 * 3, "the largest picture that can be asked for, even if it does not compress"
    monkeypatch.setattr(cards, "MAX_PNG", len(PICTURE) - 1)
    with pytest.raises(TooLarge, match="bytes"):
        read_card(PICTURE)


@given(st.data())
def test_one_wrong_byte_is_noticed_or_does_not_matter(data: st.DataObject) -> None:
    whole = card_png(PICTURE, PERSONA, MAKING)
    at = data.draw(st.integers(0, len(whole) - 1))
    bits = data.draw(st.integers(1, 255))
    with pytest.raises(HatcheryError):
        read_card(whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :])


@given(st.binary(max_size=300))
def test_whatever_follows_the_header_raises_nothing_else(rest: bytes) -> None:
    with pytest.raises(HatcheryError):
        read_card(HEAD + rest)
