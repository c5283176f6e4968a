import pytest

from protocol.maker import MAX_MODEL, model_name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("schnell", "schnell"),
        ("Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image-Turbo"),
        ("hf.co/ann/owl:q4", "hf.co/ann/owl:q4"),
        ("/home/ann/models/owl-7b/", "owl-7b"),
        ("~/owl.gguf", "owl.gguf"),
        ("../secret/owl", "owl"),
        ("C:\\Users\\ann\\owl.gguf", "owl.gguf"),
        ("/", None),
        ("", None),
        ("x" * 1000, "x" * MAX_MODEL),
    ],
)
def test_a_models_name_holds_no_folder_of_this_machine(model: str, name: str | None) -> None:
    assert model_name(model) == name
