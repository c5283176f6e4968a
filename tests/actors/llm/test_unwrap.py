import pytest

from actors.llm.unwrap import Unwrapper


@pytest.mark.parametrize(
    ("text", "thought", "found"),
    [
        ('{"a": 1}', "", '{"a": 1}'),
        ('Here {you} are { x: {"a": {}} }', "", '{"a": {}}'),
        ('```json\n{\n "a": [1]}\n```', "", '{\n "a": [1]}'),
        ('<think>hm {"b": 2}</think>{"a": "}"}', 'hm {"b": 2}', '{"a": "}"}'),
        ('a < b <<think>x</think> {"a": "\\"}"} {"c": 1}', "x", '{"a": "\\"}"}'),
        ("<think>never ends {", "never ends {", ""),
        ("no object at all {}", "", ""),
    ],
)
def test_whole_and_by_character(text: str, thought: str, found: str) -> None:
    for pieces in ([text], list(text)):
        unwrapper = Unwrapper()
        fed = [unwrapper.feed(piece) for piece in pieces]
        assert "".join(t for t, _ in fed) == thought
        assert "".join(o for _, o in fed) == found
        assert unwrapper.complete == bool(found)
