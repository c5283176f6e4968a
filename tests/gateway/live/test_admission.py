import msgspec
import pytest

from gateway.live.admission import HatchBounds, check_hatch
from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import Invalid, TooLarge
from tests.helpers.gateways import PERSONA

BOUNDS = HatchBounds(prompt_chars=2000, pixels=2048 * 2048, steps=100)


@pytest.mark.parametrize(
    "prompt",
    [
        "a shy dragon",
        "--verbose",
        "-",
        "two\nlines\r\n\tand a tab",
        "🐉" * 2000,  # code points, not bytes
        "👩‍🚀 with a zero-width joiner",
        "[red]markup[/red] {braces} %s $(id) `id` ' \"",
        "\u202eright to left",
        "x",
    ],
)
def test_any_text_may_be_a_prompt(prompt: str) -> None:
    check_hatch(HatchRequest(prompt=prompt), BOUNDS)


@pytest.mark.parametrize("prompt", ["x" * 2001, "x" * 100_000])
def test_a_long_prompt_is_too_large(prompt: str) -> None:
    with pytest.raises(TooLarge, match=f"{len(prompt)} characters, at most 2000") as caught:
        check_hatch(HatchRequest(prompt=prompt), BOUNDS)
    assert caught.value.field == "hatch.prompt"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "\u3000"])
def test_an_empty_prompt_is_invalid(prompt: str) -> None:
    with pytest.raises(Invalid, match="empty") as caught:
        check_hatch(HatchRequest(prompt=prompt), BOUNDS)
    assert caught.value.field == "hatch.prompt"


@pytest.mark.parametrize("control", ["\0", "\x1b[31m", "\x07", "\x7f", "\x9b2J", "\ud83d"])
def test_a_prompt_without_control_characters_and_half_characters(control: str) -> None:
    with pytest.raises(Invalid, match="control character") as caught:
        check_hatch(HatchRequest(prompt=f"a {control}dragon"), BOUNDS)
    assert caught.value.field == "hatch.prompt"


@pytest.mark.parametrize(
    "image",
    [
        ImageOptions(),
        ImageOptions(width=2048, height=2048),
        ImageOptions(width=4096, height=1024),
        ImageOptions(width=4096),  # the other side is the engine's own
        ImageOptions(steps=100),
    ],
)
def test_a_picture_within_bounds(image: ImageOptions) -> None:
    check_hatch(HatchRequest(prompt="x", image=image), BOUNDS)


@pytest.mark.parametrize(
    ("image", "field", "said"),
    [
        (ImageOptions(width=2064, height=2048), "hatch.image.width", "2064x2048"),
        (ImageOptions(height=4097), "hatch.image.height", "1024x4097"),
        (ImageOptions(steps=101), "hatch.image.steps", "101 steps"),
    ],
)
def test_a_picture_out_of_bounds(image: ImageOptions, field: str, said: str) -> None:
    with pytest.raises(TooLarge, match=said) as caught:
        check_hatch(HatchRequest(prompt="x", image=image), BOUNDS)
    assert caught.value.field == field


def test_a_given_persona_is_checked_and_its_fault_is_the_clients() -> None:
    check_hatch(HatchRequest(prompt="x", persona=PERSONA), BOUNDS)
    persona = msgspec.structs.replace(PERSONA, traits=["kind", "sl\x1by", "odd"])
    with pytest.raises(Invalid, match="control character") as caught:
        check_hatch(HatchRequest(prompt="x", persona=persona), BOUNDS)
    assert caught.value.field == "hatch.persona.traits.1"
