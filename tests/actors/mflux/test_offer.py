import pytest

from actors.mflux.offer import Choice, NamedLora, NamedModel, Offer
from protocol.commands import ImageOptions, Lora
from protocol.errors import Invalid

MINE = NamedModel(path="/models/mine", base_model="dev")
OFFER = Offer(models={"mine": MINE}, loras={"ink": NamedLora(path="a", scale=0.8), "fog": NamedLora(path="b")})


@pytest.mark.parametrize(
    ("image", "choice"),
    [
        (ImageOptions(), Choice()),
        (ImageOptions(model="mine"), Choice(MINE)),
        (ImageOptions(lora=["fog", "ink"]), Choice(None, (("b", 1.0), ("a", 0.8)))),
        (ImageOptions(lora=[Lora(name="ink"), Lora(name="fog", scale=0.0)]), Choice(None, (("a", 0.8), ("b", 0.0)))),
    ],
)
def test_names_stand_for_places(image: ImageOptions, choice: Choice) -> None:
    OFFER.check(image, None)
    assert OFFER.choice(image) == choice


def test_the_command_lines_own_model_is_no_choice_but_may_be_named() -> None:
    OFFER.check(ImageOptions(model="/models/own"), "/models/own")
    assert OFFER.choice(ImageOptions(model="/models/own")) == Choice()


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (ImageOptions(model="/models/mine"), "hatch.image.model"),
        (ImageOptions(lora=["fog", "a"]), "hatch.image.lora[1]"),
    ],
)
def test_a_place_is_no_name(image: ImageOptions, field: str) -> None:
    with pytest.raises(Invalid, match="choose one of") as refused:
        OFFER.check(image, None)
    assert refused.value.field == field
    with pytest.raises(Invalid, match="none to choose from"):
        Offer().check(image, None)
